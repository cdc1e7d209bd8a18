package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Users that tokens are for.
const (
	controllerUser = "controller-bootstrap"
	workerUser     = "kubelet-bootstrap"
)

// kubeconfig is what of one counts here.
type kubeconfig struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Clusters   []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server string `json:"server"`
			CA     []byte `json:"certificate-authority-data,omitempty"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token string `json:"token"`
			Cert  []byte `json:"client-certificate-data,omitempty"`
			Key   []byte `json:"client-key-data,omitempty"`
		} `json:"user"`
	} `json:"users"`
	Contexts []map[string]any `json:"contexts"`
	Current  string           `json:"current-context"`
}

// configFor is a kubeconfig of one user.
func configFor(server, user, secret string, ca []byte) kubeconfig {
	k := kubeconfig{APIVersion: "v1", Kind: "Config", Current: "k0s", Contexts: []map[string]any{{"name": "k0s", "context": map[string]any{"cluster": "k0s", "user": user}}}}
	raw := fmt.Sprintf(`{"clusters":[{"name":"k0s","cluster":{"server":%q}}],"users":[{"name":%q,"user":{"token":%q}}]}`, server, user, secret)
	_ = json.Unmarshal([]byte(raw), &k)
	k.Clusters[0].Cluster.CA = ca
	return k
}

func (k kubeconfig) text() ([]byte, error) { return yaml.Marshal(k) }

// admin reads the administrator's kubeconfig.
func admin(path string) (server, secret string, err error) {
	if path == "" {
		path = root(adminConf)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(raw, &k); err != nil || len(k.Clusters) == 0 || len(k.Users) == 0 {
		return "", "", fmt.Errorf("%s is no kubeconfig: %w", path, err)
	}
	return k.Clusters[0].Cluster.Server, k.Users[0].User.Token, nil
}

// createToken prints a token, where a controller runs.
func createToken(ctx context.Context, a *arguments) error {
	if is, err := answers(); is == nil {
		return errors.Join(errors.New("k0s is not running"), err)
	}
	server, secret, err := admin("")
	if err != nil {
		return err
	}
	w := wanted{Role: a.flag("role")}
	if e := a.flag("expiry"); e != "" {
		if w.Expiry, err = time.ParseDuration(e); err != nil {
			return err
		}
	}
	if w.Role != "controller" && w.Role != "worker" {
		return fmt.Errorf("unsupported role %q", w.Role)
	}
	var made string
	if err := call(ctx, newClient(), server+"/token", secret, w, &made); err != nil {
		return err
	}
	// the address is that of this controller, or the one in front of all
	c, err := readConfig("")
	if err != nil {
		return err
	}
	address, port, user := c.Spec.API.Address, "6443", workerUser
	if c.Spec.API.ExternalAddress != "" {
		address = c.Spec.API.ExternalAddress
	}
	if w.Role == "controller" {
		port, user = "9443", controllerUser
	}
	text, err := configFor("https://"+net.JoinHostPort(address, port), user, made, nil).text()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	fmt.Println(base64.StdEncoding.EncodeToString(b.Bytes()))
	return nil
}

func invalidate(ctx context.Context, ids []string) error {
	server, secret, err := admin("")
	if err != nil {
		return err
	}
	return call(ctx, newClient(), server+"/invalidate", secret, ids, nil)
}

// listTokens prints the IDs of the tokens of a role, which has to be named
// (cmd/token/list.go of k0s v1.34: none is refused, whatever its help says).
func listTokens(role string) error {
	if role != "controller" && role != "worker" {
		return fmt.Errorf("unsupported role %q; supported roles are \"controller\" and \"worker\"", role)
	}
	st, err := loadState()
	if err != nil || st == nil {
		return errors.Join(errors.New("k0s is not running"), err)
	}
	if len(st.Tokens) == 0 {
		fmt.Println("No k0s join tokens found")
	}
	for id, t := range st.Tokens {
		if t.Role == role {
			fmt.Println(id)
		}
	}
	return nil
}

// readToken reads a file with a token, which is for a user.
func readToken(file, user string) (url, secret string, err error) {
	raw, err := os.ReadFile(root(file))
	if err != nil {
		return "", "", fmt.Errorf("read token file: %w", err)
	}
	packed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", "", fmt.Errorf("failed to decode join token: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", "", fmt.Errorf("failed to decode join token: %w", err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return "", "", fmt.Errorf("failed to decode join token: %w", err)
	}
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil || len(k.Clusters) == 0 || len(k.Users) == 0 {
		return "", "", fmt.Errorf("failed to load kubeconfig from join token: %w", err)
	}
	if is := k.Users[0].Name; is != user {
		return "", "", fmt.Errorf("wrong token type %s, expected type: %s", is, user)
	}
	return k.Clusters[0].Cluster.Server, k.Users[0].User.Token, nil
}

// memberList prints the members of etcd, by their names.
func memberList() error {
	st, err := loadState()
	if err != nil || st == nil {
		return errors.Join(errors.New("can't list etcd cluster members"), err)
	}
	members := map[string]string{}
	for _, m := range st.Members {
		members[m.Name] = "https://" + net.JoinHostPort(m.Address, "2380")
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"members": members})
}
