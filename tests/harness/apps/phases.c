/* A program that does one thing after the other: `phases idle early late` goes on to the next at each SIGUSR2. It ends
 * behind the last one, and after two minutes in any case. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t reached;
static volatile uint64_t sink;

static void go_on(int number)
{
	(void)number;
	reached++;
}

#define COMPUTE(name)                                                   \
	__attribute__((noinline)) void name(int phase)                  \
	{                                                               \
		while (reached <= phase)                                \
			for (int i = 0; i < 1000; i++)                  \
				sink += i;                              \
	}

COMPUTE(compute_early)
COMPUTE(compute_late)

int main(int argc, char **argv)
{
	alarm(120);
	signal(SIGUSR2, go_on);
	for (int phase = 0; phase < argc - 1; phase++) {
		if (!strcmp(argv[phase + 1], "early"))
			compute_early(phase);
		else if (!strcmp(argv[phase + 1], "late"))
			compute_late(phase);
		while (reached <= phase)
			usleep(10000);
	}
	return 0;
}
