/* A program that waits for known times: in sleep_a_little() and in wait_for_lock(). */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void pause_for(long milliseconds)
{
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};

	nanosleep(&time, NULL);
}

__attribute__((noinline)) void sleep_a_little(void)
{
	pause_for(30);
	__asm__ volatile("");
}

__attribute__((noinline)) void wait_for_lock(void)
{
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	__asm__ volatile("");
}

static void *hold(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		pause_for(70);
		pthread_mutex_unlock(&lock);
		pause_for(1);
	}
	return unused;
}

/* waits ROUNDS */
int main(int argc, char **argv)
{
	pthread_t holder;
	int rounds = argc > 1 ? atoi(argv[1]) : 20;

	pthread_create(&holder, NULL, hold, NULL);
	for (int round = 0; round < rounds; round++) {
		sleep_a_little();
		wait_for_lock();
	}
	_exit(0);
}
