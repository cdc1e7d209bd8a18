// Tool is a program with a module in it, for tests to find.
package main

import "golang.org/x/sync/errgroup"

func main() {
	var g errgroup.Group
	_ = g.Wait()
}
