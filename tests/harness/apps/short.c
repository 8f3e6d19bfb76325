/* Starts itself again and again: `short RUNS` has RUNS children one after the other, each of which lives for a few ms. */
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;
static volatile unsigned long sum;

static double cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

__attribute__((noinline)) static void short_work(void)
{
	while (cpu_ms() < 4)
		for (int turn = 0; turn < 1000; turn++)
			sum += turn;
	sum++;
}

__attribute__((noinline)) static void short_life(void)
{
	short_work();
	sum++;
}

int main(int argc, char **argv)
{
	char *child[] = {argv[0], NULL};
	pid_t pid;

	if (argc < 2)
		short_life();
	for (long runs = argc < 2 ? 0 : atol(argv[1]); runs > 0; runs--)
		if (posix_spawn(&pid, argv[0], NULL, NULL, child, environ) || waitpid(pid, NULL, 0) < 0)
			return 1;
	return 0;
}
