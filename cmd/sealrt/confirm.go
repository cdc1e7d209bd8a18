package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// confirm asks before something is lost. Without a terminal only --yes will
// do.
func confirm(env *environment, yes bool, what string) error {
	if yes {
		return nil
	}
	if !env.interactive() {
		return usageError{fmt.Errorf("this would %s: pass --yes to go on without a question", what)}
	}
	fmt.Fprintf(env.stderr, "This will %s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(env.stdin).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return errors.New("not confirmed, nothing was changed")
	}
	return nil
}
