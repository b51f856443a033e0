// A service that logs as those of EMCO do: numbered lines, so many a second, and some more when it is
// told to end. Then it ends, with a line that no newline ends.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	lines := flag.Int("lines", 10, "how many lines it writes before it is quiet")
	rate := flag.Int("rate", 1000, "how many of them in a second")
	last := flag.Int("last", 3, "how many more when it is told to end")
	status := flag.Int("exit", -1, "ends by itself after all lines, with this status")
	flag.Parse()

	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	say := func(number int, what string) {
		fmt.Fprintf(out, `{"SOURCE":"file[work.go:52] func[main.work]","level":"info",`+
			`"msg":"%s %d of %s, which is as long as lines of this kind are","time":"%s"}`,
			what, number, os.Getenv("HOSTNAME"), time.Now().UTC().Format(time.RFC3339))
	}
	tick := time.NewTicker(20 * time.Millisecond)
	start, written := time.Now(), 0
	for written < *lines && len(told) == 0 {
		due := min(*lines, int(time.Since(start).Seconds()*float64(*rate))+1)
		for ; written < due; written++ {
			say(written, "step")
			out.WriteByte('\n')
		}
		out.Flush()
		if written < *lines {
			<-tick.C
		}
	}
	if *status < 0 {
		<-told
	}
	for number := range *last {
		say(number, "farewell")
		if number+1 < *last {
			out.WriteByte('\n')
		}
	}
	out.Flush()
	os.Exit(max(*status, 0))
}
