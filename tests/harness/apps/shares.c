/* A program that knows the shares of its functions: each round spends about 1, 2 and 5 parts in three of them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define UNIT 20000

static volatile uint64_t sink;

#define SPEND(name, parts)                                  \
	__attribute__((noinline)) void name(void)           \
	{                                                   \
		for (uint64_t i = 0; i < (parts) * UNIT; i++) \
			sink += i;                          \
	}

SPEND(one_part, 1)
SPEND(two_parts, 2)
SPEND(five_parts, 5)

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static double timed(void (*function)(void))
{
	double begin = seconds();

	function();
	return seconds() - begin;
}

/* shares SECONDS [TRUTH]: seconds of processor time, so that a busy machine changes nothing; how long each function
 * took is written to TRUTH */
int main(int argc, char **argv)
{
	double one = 0, two = 0, five = 0, end = argc > 1 ? atof(argv[1]) : 1;
	FILE *truth = argc > 2 ? fopen(argv[2], "w") : NULL;

	while (seconds() < end) {
		one += timed(one_part);
		two += timed(two_parts);
		five += timed(five_parts);
	}
	if (truth)
		fprintf(truth, "{\"one_part\": %f, \"two_parts\": %f, \"five_parts\": %f}\n", one, two, five);
	return 0;
}
