// What a Go program may want of its machine, one deed each: named by its first argument.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
)

func echo() int {
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 7
}

func compute() int {
	sums := map[string]float64{}
	for i := 0; i < 100000; i++ {
		sums[fmt.Sprintf("key %d", i%97)] += float64(i) / 3
	}
	keys := []string{}
	for key := range sums {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	fmt.Printf("%d %s %.6f\n", len(keys), keys[0], sums["key 11"])
	return 0
}

func threads() int {
	var lock sync.Mutex
	var all sync.WaitGroup
	sum := 0
	for i := 0; i < 100; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			if i < 4 {
				runtime.LockOSThread() // a thread of its own
			}
			for j := 0; j < 1000; j++ {
				lock.Lock()
				sum++
				lock.Unlock()
			}
		}(i)
	}
	all.Wait()
	answers := make(chan int)
	go func() { answers <- sum }()
	select {
	case answer := <-answers:
		fmt.Println(answer)
	case <-time.After(time.Minute):
		return 1
	}
	return 0
}

func rest() int {
	before := time.Now()
	time.Sleep(20 * time.Millisecond)
	if time.Since(before) < 20*time.Millisecond {
		fmt.Println("no rest")
		return 1
	}
	fmt.Println("rested")
	return 0
}

var kept [100][]byte

func memory() int {
	for i := 0; i < 500; i++ { // five times what is kept: the rest is the collector's
		kept[i%100] = make([]byte, 1<<20)
		for j := range kept[i%100] {
			kept[i%100][j] = byte(i)
		}
	}
	runtime.GC()
	var found runtime.MemStats
	runtime.ReadMemStats(&found)
	fmt.Println(found.NumGC > 2, found.HeapAlloc>>20 < 150)
	return 0
}

func hog() int {
	all := [][]byte{}
	for {
		piece := make([]byte, 1<<20)
		for j := range piece {
			piece[j] = 1
		}
		all = append(all, piece)
	}
}

func file() int {
	if _, err := os.Open("/etc/passwd"); err != nil {
		fmt.Println("no file")
		return 0
	}
	fmt.Println("a file")
	return 1
}

func panics() int {
	var nothing *[4]int
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		nothing[len(os.Args)]++ // SIGSEGV, which the runtime turns into a panic
	}()
	panic("for good")
}

func quit() int {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGQUIT)
	fmt.Println("ready")
	<-asked
	fmt.Println("finished in time")
	return 5
}

func main() {
	deeds := map[string]func() int{
		"echo": echo, "compute": compute, "threads": threads, "rest": rest, "memory": memory, "hog": hog,
		"file": file, "panics": panics, "quit": quit,
	}
	if len(os.Args) > 1 && deeds[os.Args[1]] != nil {
		os.Exit(deeds[os.Args[1]]())
	}
	fmt.Fprintf(os.Stderr, "%d arguments, the last is %s\n", len(os.Args), os.Args[len(os.Args)-1])
	fmt.Println("hello")
	os.Exit(3)
}
