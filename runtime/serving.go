package runtime

// Serve is a step that serves another one, and may be repeated: it is done
// whenever that one is.
func Serve(id, what string, do Action) Step {
	return Step{ID: id + " " + what, With: id, Again: true, Do: do}
}

// Serving are the steps as such that serve another one.
func Serving(id string, steps ...Step) []Step {
	out := make([]Step, len(steps))
	for n, s := range steps {
		s.With = id
		out[n] = s
	}
	return out
}

// EmptyDirectory serves another step with a directory in which nothing is, and
// which only root can read.
func EmptyDirectory(id, dir string) []Step {
	return []Step{
		Serve(id, "room", Remove{Paths: []string{dir}}),
		Serve(id, "directory", Exec{Argv: []string{"install", "-d", "-m", "0700", dir}}),
	}
}
