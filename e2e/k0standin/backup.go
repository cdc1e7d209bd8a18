package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// backup makes an archive of what a controller that runs knows.
func backup(ctx context.Context, a *arguments) (err error) {
	is, err := answers()
	if is == nil || is.Role != "controller" {
		return errors.Join(errors.New("backup command must be run on the controller node"), err)
	}
	dir := a.flag("save-path")
	if info, err := os.Stat(root(dir)); err != nil || !info.IsDir() {
		return fmt.Errorf("the save-path directory (%s) does not exist", dir)
	}
	server, secret, err := admin("")
	if err != nil {
		return err
	}
	if err := call(ctx, newClient(), server+"/backup", secret, "now", nil); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(root(dir), "k0s_backup_"+time.Now().UTC().Format("2006-01-02T15_04_05.000Z")+".tar.gz"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	for name, path := range map[string]string{"etcd-snapshot.db": stateFile, "k0s.yaml": "/etc/k0s/k0s.yaml"} {
		raw, err := os.ReadFile(root(path))
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(raw))}); err != nil {
			return err
		}
		if _, err := t.Write(raw); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

// restore puts an archive in the place of nothing: the controller is the only
// member afterwards.
func restore(a *arguments) error {
	if err := stopped("restore"); err != nil {
		return err
	}
	if _, err := os.Stat(root(dataDir + "/etcd")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data-dir %s/etcd is not empty: a backup is restored on a clean host", dataDir)
	}
	if len(a.words) != 1 {
		return errors.New("restore: name the archive")
	}
	files, err := unpack(root(a.words[0]))
	if err != nil {
		return err
	}
	if out := a.flag("config-out"); out != "" {
		if err := writeFile(out, 0o600, []byte(files["k0s.yaml"])); err != nil {
			return err
		}
	}
	if err := writeFile(stateFile, 0o600, []byte(files["etcd-snapshot.db"])); err != nil {
		return err
	}
	st, err := loadState()
	if err != nil {
		return err
	}
	then, err := parseConfig("k0s.yaml of the backup", []byte(files["k0s.yaml"]))
	if err != nil {
		return err
	}
	name, err := hostname()
	if err != nil {
		return err
	}
	for _, m := range st.Members {
		st.Removed = append(st.Removed, m.ID)
	}
	own := member{ID: random(), Name: name, Address: then.Spec.Storage.Etcd.PeerAddress}
	st.Members, st.Revision = []member{own}, st.Revision+1
	if n, ok := st.Nodes[name]; ok {
		n.Version = Version // the data is of what it was made with
		st.Nodes[name] = n
	}
	return errors.Join(writeFile(idFile, 0o600, []byte(own.ID)), st.save())
}

func unpack(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("given file %s does not exist: %w", path, err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for t := tar.NewReader(z); ; {
		hdr, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		if _, err := io.Copy(&b, t); err != nil { //nolint:gosec // it is our own
			return nil, err
		}
		if filepath.Clean(hdr.Name) == "." {
			return nil, fmt.Errorf("%s: illegal file path", hdr.Name)
		}
		out[hdr.Name] = b.String()
	}
	if out["etcd-snapshot.db"] == "" || out["k0s.yaml"] == "" {
		return nil, fmt.Errorf("%s is no backup", path)
	}
	return out, nil
}
