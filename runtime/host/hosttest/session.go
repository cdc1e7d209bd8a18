package hosttest

import (
	"errors"
	"io"
	"os/exec"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// session serves one session: one command (RFC 4254, section 6). Its channel is closed when the command has ended; as with
// sshd, a client that goes away does not end the command, its next write does.
func (s *Server) session(nc ssh.NewChannel, free func()) {
	ch, requests, err := nc.Accept()
	if err != nil {
		free()
		return // the connection is gone
	}
	defer ch.Close()
	defer free()
	var cmd *exec.Cmd
	ended := make(chan error, 1)
	for {
		select {
		case err := <-ended:
			s.note(func() { delete(s.groups, cmd.Process.Pid) })
			report(ch, cmd, err)
			return
		case r, ok := <-requests:
			switch {
			case !ok && cmd == nil:
				return
			case !ok:
				requests = nil // wait for the command
			case r.Type == "exec" && cmd == nil:
				cmd, err = s.start(ch, r.Payload, ended)
				_ = r.Reply(err == nil, nil) // the connection may be gone
				if err != nil {
					return
				}
			case r.Type == "signal" && cmd != nil && !s.o.IgnoreSignals:
				var sig struct{ Name string }
				if ssh.Unmarshal(r.Payload, &sig) == nil {
					_ = syscall.Kill(-cmd.Process.Pid, signals()[ssh.Signal(sig.Name)]) // it may have ended
				}
			case r.WantReply:
				_ = r.Reply(false, nil) // the connection may be gone
			}
		}
	}
}

func signals() map[ssh.Signal]syscall.Signal {
	return map[ssh.Signal]syscall.Signal{ssh.SIGTERM: syscall.SIGTERM, ssh.SIGKILL: syscall.SIGKILL, ssh.SIGINT: syscall.SIGINT, ssh.SIGHUP: syscall.SIGHUP}
}

// start runs the command of an exec request; its end comes on ended.
func (s *Server) start(ch ssh.Channel, payload []byte, ended chan<- error) (*exec.Cmd, error) {
	var line struct{ Command string }
	if err := ssh.Unmarshal(payload, &line); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.o.Shell, "-c", line.Command)
	cmd.Env = s.o.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, line.Command)
	if s.groups == nil {
		return nil, errors.New("the server is closed")
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.groups[cmd.Process.Pid] = true
	go func() {
		_, _ = io.Copy(stdin, ch) // a command need not read
		_ = stdin.Close()
	}()
	go func() { ended <- cmd.Wait() }()
	return cmd, nil
}

// report sends how the command ended (RFC 4254, 6.10).
func report(ch ssh.Channel, cmd *exec.Cmd, err error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return // its output could not be passed on: there is nobody to tell
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		for name, sig := range signals() {
			if sig == ws.Signal() {
				_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Name       string
					Core       bool
					Text, Lang string
				}{Name: string(name)})) // the connection may be gone
			}
		}
		return
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(cmd.ProcessState.ExitCode())})) // as above
}

// killAll ends every command, and keeps new ones from starting.
func (s *Server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid := range s.groups {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended
	}
	s.groups = nil
}
