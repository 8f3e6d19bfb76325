// The test service (see python_server.py for its routes) and the test client on Go's net/http.
//
//	httpapp server            prints its port
//	httpapp client HOST PORT  reads a JSON list of requests, writes one line of truth for each
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const piecePause = 10 * time.Millisecond

type planned struct {
	Method    string  `json:"method"`
	Target    string  `json:"target"`
	BodyBytes int     `json:"body_bytes"`
	Status    int     `json:"status"`
	LatencyMs float64 `json:"latency_ms"`
}

func main() {
	if os.Args[1] == "server" {
		serve()
		return
	}
	client(os.Args[2], os.Args[3])
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	must(http.Serve(listener, http.HandlerFunc(answer)))
}

func answer(response http.ResponseWriter, request *http.Request) {
	received, err := io.Copy(io.Discard, request.Body)
	must(err)
	parts := strings.Split(request.URL.Path, "/")
	route, rest := parts[1], parts[2:]
	number, _ := strconv.Atoi(rest[0])
	response.Header().Set("Content-Type", "text/plain")
	switch route {
	case "sleep":
		time.Sleep(time.Duration(number) * time.Millisecond)
	case "stream", "sse":
		stream(response, number, route == "sse")
		return
	}
	status, content := http.StatusOK, fmt.Sprintf("hello %s\n", strings.Join(rest, "/"))
	switch route {
	case "large":
		content = strings.Repeat("x", number)
	case "status":
		status = number
	case "upload":
		status, content = http.StatusCreated, fmt.Sprintf("received %d\n", received)
	}
	response.Header().Set("Content-Length", strconv.Itoa(len(content)))
	response.WriteHeader(status)
	if request.Method != http.MethodHead {
		_, err = io.WriteString(response, content)
		must(err)
	}
}

func stream(response http.ResponseWriter, pieces int, events bool) {
	if events {
		response.Header().Set("Content-Type", "text/event-stream")
	}
	for number := 0; number < pieces; number++ {
		time.Sleep(piecePause)
		fmt.Fprintf(response, "data: %d\n\n", number)
		response.(http.Flusher).Flush()
	}
}

func client(host, port string) {
	var plan []planned
	must(json.NewDecoder(os.Stdin).Decode(&plan))
	out := json.NewEncoder(os.Stdout)
	for _, each := range plan {
		request, err := http.NewRequest(each.Method, "http://"+net.JoinHostPort(host, port)+each.Target,
			bytes.NewReader(make([]byte, each.BodyBytes)))
		must(err)
		started := time.Now()
		response, err := http.DefaultTransport.RoundTrip(request)
		must(err)
		_, err = io.Copy(io.Discard, response.Body)
		must(err)
		response.Body.Close()
		each.LatencyMs = float64(time.Since(started).Nanoseconds()) / 1e6
		each.Status = response.StatusCode
		must(out.Encode(each))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
