/* A program that calls functions a known number of times, and leaves some of them in every way that there is. */
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))
#define KEPT __asm__ volatile("" ::: "memory")

#define ADDED 97
#define NAPS 7
#define NAP_NS 20000000L
#define NAMED 5
#define DEPTH 29
#define JUMPS 13
#define JUMP_DEPTH 3
#define THREADS 5
#define IN_THREAD 101
#define TAILS 11
#define CHILD_CALLS 17

static jmp_buf back;

APART long add(int left, long right)
{
	KEPT;
	return left + right;
}

APART int nap(void)
{
	struct timespec time = {0, NAP_NS};

	nanosleep(&time, NULL);
	KEPT;
	return -7;
}

APART size_t name_it(const char *name, unsigned char number)
{
	KEPT;
	return strlen(name) + number;
}

APART int descend(int depth)
{
	int deeper = depth > 1 ? descend(depth - 1) : 0;

	KEPT;
	return deeper + 1;
}

/* Never returns to its caller. */
APART void jump_out(int depth)
{
	if (depth <= 1)
		longjmp(back, 1);
	jump_out(depth - 1);
	KEPT;
}

APART long after_tail(long value)
{
	KEPT;
	return value * 2;
}

/* Ends in a jump to another function. */
APART long tail(long value)
{
	KEPT;
	return after_tail(value + 1);
}

APART long in_thread(long number)
{
	KEPT;
	return number;
}

APART int in_child(int number)
{
	KEPT;
	return number;
}

static void *thread(void *given)
{
	for (long number = 0; number < IN_THREAD; number++)
		in_thread((long)given * 1000 + number);
	return NULL;
}

static void in_threads(void)
{
	pthread_t threads[THREADS];

	for (long number = 0; number < THREADS; number++)
		pthread_create(&threads[number], NULL, thread, (void *)number);
	for (int number = 0; number < THREADS; number++)
		pthread_join(threads[number], NULL);
}

static void in_a_child(void)
{
	pid_t child = fork();

	if (!child) {
		for (int number = 0; number < CHILD_CALLS; number++)
			in_child(number);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(void)
{
	static const char *const names[NAMED] = {"alpha", "beta", "gamma", "delta", "eta \"\xc3\xa9\""};

	for (int number = 0; number < ADDED; number++)
		add(-number, 3L * number);
	for (int number = 0; number < NAPS; number++)
		nap();
	for (int number = 0; number < NAMED; number++)
		name_it(names[number], number);
	descend(DEPTH);
	for (volatile int number = 0; number < JUMPS; number++)
		if (!setjmp(back))
			jump_out(JUMP_DEPTH);
	descend(2);
	for (int number = 0; number < TAILS; number++)
		tail(number);
	in_threads();
	in_a_child();
	return 0;
}
