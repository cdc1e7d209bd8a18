package convert

import (
	"os/exec"
	"strings"
	"testing"
)

func TestCommandLinesAreJoined(t *testing.T) {
	tests := []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"", " ; "}, ""},
		{[]string{"helm install a"}, "helm install a"},
		{[]string{"a;", " b"}, "a && b"},
		{[]string{"cd x && a", "b"}, `cd x && a && cd "$SEALRT_ROOTFS" && b`},
		{[]string{"a &", "b # c", "d"}, "{ a &\n} && { b # c\n} && d"},
	}
	for _, test := range tests {
		argv := joinLines(test.lines)
		if strings.Join(argv, "|") != strings.TrimPrefix("/bin/sh|-c|"+test.want, map[bool]string{true: "/bin/sh|-c|"}[test.want == ""]) {
			t.Errorf("%q: %q", test.lines, argv)
		}
	}
}

func TestJoinedLinesRunOneAfterTheOtherUntilOneFails(t *testing.T) {
	argv := joinLines([]string{"cd / && printf a;", "printf b # no more", "printf c &", "wait", "pwd", "false", "printf d"})
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"SEALRT_ROOTFS=" + t.TempDir()}
	out, err := cmd.Output()
	if err == nil || !strings.HasPrefix(string(out), "abc"+strings.TrimPrefix(cmd.Env[0], "SEALRT_ROOTFS=")) {
		t.Errorf("%q, %v", out, err)
	}
}

func TestVariablesOfSealos(t *testing.T) {
	tests := []struct {
		line, want string
		remarks    int
	}{
		{"kubectl -n $(NS) get $(NS)-a", "kubectl -n ${NS} get ${NS}-a", 0},
		{"echo $(hostname) $(kubectl get nodes) ${NS}", "echo $(hostname) $(kubectl get nodes) ${NS}", 1},
		{"echo $$(NS) $$", "echo $(NS) $", 0},
		{"bash -c 'echo $(NS)'", "bash -c 'echo ${NS}'", 1},
	}
	for _, test := range tests {
		var r Report
		if got := r.expandLine(test.line, map[string]bool{"NS": true}); got != test.want || len(r.Unmapped) != test.remarks {
			t.Errorf("%s: %s, %v", test.line, got, r.Unmapped)
		}
	}
}
