// The program in the pods of the conformance suite: called `client` it sends requests and prints what came back in the
// lines that the suite reads, otherwise it serves them.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	run := serve
	if filepath.Base(os.Args[0]) == "client" {
		run = ask
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
