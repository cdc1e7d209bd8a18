package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Rewrite gives a file that is there what r holds, as Put does, and leaves it what else it is: its owner, its permissions
// and its extended attributes. Where name is a link, it is the file that it leads to.
func Rewrite(ctx context.Context, h Host, name string, r io.Reader) error {
	if err := rewrite(ctx, h, name, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func rewrite(ctx context.Context, h Host, name string, r io.Reader) (err error) {
	out, err := output(ctx, h, "readlink", "-f", name)
	if err != nil {
		return err
	}
	name = strings.TrimSuffix(string(out), "\n")
	temp, err := temporary(ctx, h, name)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(ctx, h, temp))
		}
	}()
	copied := Command{Argv: []string{"cp", "-a", name, temp}, Env: []string{messages}}
	if err := h.Run(ctx, copied); err != nil {
		return explainWrite(h, name, err)
	}
	if err := fill(ctx, h, name, temp, r); err != nil {
		return err
	}
	return rename(ctx, h, temp, name)
}

// temporary makes a file for what is to become name, in the same directory.
func temporary(ctx context.Context, h Host, name string) (string, error) {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
		return "", errors.New("not a clean absolute path of a file")
	}
	out, err := output(ctx, h, "mktemp", path.Join(path.Dir(name), ".sealrt-XXXXXX"))
	if err != nil {
		return "", explainWrite(h, name, err)
	}
	temp := strings.TrimSuffix(string(out), "\n")
	if path.Dir(temp) != path.Dir(name) {
		return "", fmt.Errorf("mktemp on %s answered %q, which is not in %s", h.Name(), temp, path.Dir(name))
	}
	return temp, nil
}

// fill writes to the temporary file of name, and has it reach the disk.
func fill(ctx context.Context, h Host, name, temp string, r io.Reader) error {
	dd := Command{Argv: []string{"dd", "of=" + temp, "bs=1M", "conv=fsync", "status=none"}, Env: []string{messages}, Stdin: r}
	if err := h.Run(ctx, dd); err != nil {
		return explainWrite(h, name, err)
	}
	return nil
}
