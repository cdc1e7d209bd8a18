package runtime

import (
	"context"
	"strings"
)

// halfway is the reason of a step that was begun and never ended.
const halfway = "stopped half way"

// restarts is the reason of a service whose configuration changed.
const restarts = "restarts"

// because says which of the files that a service reads change before it.
func (t *target) because(s Step, changed map[string]bool) string {
	var files []string
	for _, f := range s.Reads {
		if changed[f] {
			files = append(files, f)
		}
	}
	switch len(files) {
	case 0:
		return " because its configuration changes"
	case 1:
		return " because " + files[0] + " changes"
	}
	return " because " + strings.Join(files, ", ") + " change"
}

// why returns why a step is to be done; "" when it holds.
func (t *target) why(ctx context.Context, s Step) (string, error) {
	yes, err := t.holds(ctx, s)
	if err != nil || yes {
		return "", err
	}
	return t.reason(s)
}

// reason says of a step that does not hold why that is.
func (t *target) reason(s Step) (string, error) {
	hash, err := s.hash()
	if err != nil {
		return "", err
	}
	service, serves := s.Do.(Service)
	switch {
	case s.Mends != (StepRef{}):
		return s.Mends.ID + " " + halfway, nil
	case s.Undoes != "":
		return "sealrt made it", nil
	case t.ledger.broken(s.ID):
		return halfway, nil
	case serves && service.Running && t.ledger.changed(s.ID, hash):
		return restarts, nil
	case t.ledger.changed(s.ID, hash):
		return "differs from what was done", nil
	case t.ledger.holds(s.ID, hash):
		return "no longer so on the host", nil
	}
	return fresh(s.Do), nil
}

// fresh is the reason of a step that was never done on the host.
func fresh(a Action) string {
	switch a := a.(type) {
	case Exec:
		switch {
		case a.Capture != "":
			return "a later step needs it"
		case a.Always:
			return "whenever it is asked for"
		}
		return "not done yet"
	case Service:
		return "not started yet"
	case Await, Present:
		return "not so yet"
	case Remove, Flush:
		return "whatever is there goes"
	case Undo:
		return "what was made there is taken back"
	case Drop, Withdraw:
		return "it is needed no more"
	case Mark:
		return "not done yet"
	case Helper:
		return "not there, or of another version"
	}
	return "not there"
}
