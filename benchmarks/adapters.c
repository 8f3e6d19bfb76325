/* What benchmarks/adapters.py times: HTTP exchanges between two threads over loopback, and calls that are none.
 * `adapters COUNT`: begins when a line comes in, prints the nanoseconds of one exchange and of one call. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char request[] = "GET /timed HTTP/1.1\r\nHost: localhost\r\n\r\n";
static const char response[] = "HTTP/1.1 204 No Content\r\n\r\n";
static long count;

static void require(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(1);
	}
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static void transfer(int socket, const char *out, size_t out_size, size_t in_size)
{
	char in[128];

	if (out_size)
		require(write(socket, out, out_size) == (ssize_t)out_size, "write");
	if (in_size)
		require(recv(socket, in, in_size, MSG_WAITALL) == (ssize_t)in_size, "recv");
}

static void *serve(void *listener)
{
	int socket = accept(*(int *)listener, NULL, NULL);

	require(socket >= 0, "accept");
	for (long i = 0; i < count; i++) {
		transfer(socket, NULL, 0, sizeof(request) - 1);
		transfer(socket, response, sizeof(response) - 1, 0);
	}
	close(socket);
	return NULL;
}

static double exchanges(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	pthread_t server;
	double begin;

	require(!bind(listener, (struct sockaddr *)&address, size) && !listen(listener, 1), "listen");
	getsockname(listener, (struct sockaddr *)&address, &size);
	require(!pthread_create(&server, NULL, serve, &listener), "thread");
	require(!connect(client, (struct sockaddr *)&address, size), "connect");
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	begin = now_ns();
	for (long i = 0; i < count; i++)
		transfer(client, request, sizeof(request) - 1, sizeof(response) - 1);
	begin = now_ns() - begin;
	pthread_join(server, NULL);
	close(client);
	close(listener);
	return begin / count;
}

static double other_calls(void)
{
	double begin = now_ns();

	for (long i = 0; i < count; i++)
		syscall(SYS_getppid);
	return (now_ns() - begin) / count;
}

int main(int argc, char **argv)
{
	double exchange;

	count = argc > 1 ? atol(argv[1]) : 10000;
	getchar();
	exchange = exchanges();
	printf("%.0f %.1f\n", exchange, other_calls());
	return 0;
}
