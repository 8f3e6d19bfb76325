// A program whose goroutines call functions a known number of times, while their stacks grow and move.
package main

import (
	"fmt"
	"os"
	"sync"
)

//go:noinline
func Add(a, b int) int { return a + b }

//go:noinline
func Deep(n int) int {
	var room [256]byte
	room[n%256] = byte(n)
	if n == 0 {
		return int(room[0])
	}
	return Deep(n-1) + int(room[n%256])%2
}

//go:noinline
func Panics(n int) int {
	if n > 0 {
		panic("out")
	}
	return n
}

//go:noinline
func Greet(name string) int { return len(name) }

func guarded(n int) {
	defer func() { recover() }()
	Panics(n)
}

func main() {
	for i := 0; i < 97; i++ {
		Add(i, 2*i)
	}
	var group sync.WaitGroup
	for g := 0; g < 11; g++ {
		group.Add(1)
		go func() { defer group.Done(); Deep(500) }()
	}
	group.Wait()
	for i := 0; i < 13; i++ {
		guarded(1)
	}
	for i := 0; i < 7; i++ {
		Greet("go-go")
	}
	fmt.Fprintln(os.Stderr, "done")
}
