package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// addHelper puts sealrt itself on top, where the user asked for it, in a layer of its own: hosts of the image's platform
// need it, and the client may be of another.
func (w *work) addHelper(ctx context.Context) error {
	if w.Helper == nil {
		return nil
	}
	file, err := w.Helper(w.platform)
	if err != nil {
		return fmt.Errorf("add sealrt to the image: %w", err)
	}
	entry, err := programEntry(artifact.HelperFile(w.platform.OS, w.platform.Architecture), file)
	if err != nil {
		return fmt.Errorf("add sealrt to the image: %w", err)
	}
	w.addFiles(ctx, []layer.Entry{entry}, artifact.HistoryHelper)
	return nil
}

// programEntry is a program that lies in a file of this machine.
func programEntry(name, file string) (layer.Entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return layer.Entry{}, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return layer.Entry{}, fmt.Errorf("read %s: %w", file, err)
	}
	return layer.Entry{
		Name: name, Mode: 0o755, Size: size, Version: "program " + hex.EncodeToString(sum.Sum(nil)),
		Open: func() (io.ReadCloser, error) { return os.Open(file) },
	}, nil
}
