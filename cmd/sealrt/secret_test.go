package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsAreWrittenAsForDocker(t *testing.T) {
	t.Chdir(t.TempDir())
	vars := map[string]string{"TOKEN": "from TOKEN", "npm": "from npm"}
	for _, name := range []string{"file", "pip"} {
		if err := os.WriteFile(name, []byte("in "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ text, want string }{
		{"id=a,src=file", "in file"},
		{"id=a,source=file", "in file"},
		{"type=file,id=a,src=file", "in file"},
		{"id=a,env=TOKEN", "from TOKEN"},
		{"id=a,type=env,src=TOKEN", "from TOKEN"},
		{"id=npm", "from npm"},
		{"id=npm,type=env", "from npm"},
		{"id=pip", "in pip"},
		{"ID=a,SRC=file", "in file"},
	}
	for _, tt := range tests {
		got, err := parseSecrets([]string{tt.text}, func(name string) string { return vars[name] })
		if err != nil || len(got) != 1 {
			t.Errorf("%s: got %q, %v", tt.text, got, err)
		}
		for _, content := range got {
			if string(content) != tt.want {
				t.Errorf("%s: got %q, want %q", tt.text, content, tt.want)
			}
		}
	}
}

func TestSecretsThatCannotBeRead(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		texts []string
		usage bool
		want  string
	}{
		{"no field", []string{"hunter2"}, true, "write id=ID,src=FILE"},
		{"no id", []string{"src=hunter2"}, true, "write id=ID,src=FILE"},
		{"an unknown field", []string{"id=a,value=hunter2"}, true, `"value" is no part of that`},
		{"an unknown type", []string{"id=a,type=vault"}, true, "file or env"},
		{"two origins", []string{"id=a,src=x,env=hunter2"}, true, "not both"},
		{"twice", []string{"id=PATH,env=PATH", "id=PATH,env=PATH"}, true, "given twice"},
		{"no such file", []string{"id=a,src=/nowhere/file"}, false, "--secret id=a: open /nowhere/file: no such file"},
		{"no such variable", []string{"id=a,env=NOTHING"}, false, "--secret id=a: the variable NOTHING is not set"},
		{"too large", []string{"id=a,src=" + large}, false, "larger than the 500.0 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseSecrets(tt.texts, func(name string) string { return map[string]string{"PATH": "hunter2"}[name] })
			var usage usageError
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, &usage) != tt.usage {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret is shown: %v", err)
			}
		})
	}
	if _, err := parseSecrets([]string{"id=a,src=/nowhere/file"}, os.Getenv); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
