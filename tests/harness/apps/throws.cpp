// A program whose functions are left by exceptions, and which says whether all of them arrived.
#include <cstdio>
#include <stdexcept>

#define APART __attribute__((noinline))

static volatile int sink;
static int cleaned;

struct Cleaner {
	~Cleaner() { cleaned++; }
};

APART int leaf(int value)
{
	sink = value;
	return value + 1;
}

APART int thrower(int value)
{
	if (value % 3 == 0)
		throw std::runtime_error("every third");
	sink = value;
	return leaf(value);
}

APART int passes(int value)
{
	Cleaner cleaner;

	int result = thrower(value);
	sink = result;
	return result;
}

APART int tail(int value)
{
	sink = value;
	return passes(value + 0);
}

int main()
{
	int caught = 0;

	for (int value = 0; value < 31; value++) {
		try {
			tail(value);
		} catch (const std::runtime_error &) {
			caught++;
		}
	}
	std::printf("caught %d cleaned %d\n", caught, cleaned);
	return caught == 11 && cleaned == 31 ? 0 : 1;
}
