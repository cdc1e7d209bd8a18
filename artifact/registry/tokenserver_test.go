package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// tokenServer gives out signed tokens as registries verify them
// (https://distribution.github.io/distribution/spec/auth/jwt/): to bob all that he asks for, to eve what is for reading, to ann her own,
// and for an identity token, over OAuth2.
type tokenServer struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	scopes []string // asked for
	grants []string // how
}

const (
	tokenIssuer, tokenService, tokenKey = "issuer of this test", "registry of this test", "the key"

	identityToken = "identity-of-bob"
)

func newTokenServer(t testing.TB, start func(http.Handler) *httptest.Server) *tokenServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	artifacttest.Check(t, err)
	s := &tokenServer{key: key}
	s.Server = start(s)
	t.Cleanup(s.Close)
	return s
}

// auth returns what a registry has to know of the server.
func (s *tokenServer) auth(t testing.TB) configuration.Auth {
	t.Helper()
	point, err := s.key.PublicKey.Bytes()
	artifacttest.Check(t, err)
	set := map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "kid": tokenKey, "alg": "ES256", "use": "sig", "x": base64URL(point[1:33]), "y": base64URL(point[33:]),
	}}}
	b, err := json.Marshal(set)
	artifacttest.Check(t, err)
	file := filepath.Join(t.TempDir(), "keys.json")
	artifacttest.Check(t, os.WriteFile(file, b, 0o600))
	return configuration.Auth{"token": {"realm": s.URL + "/token", "issuer": tokenIssuer, "service": tokenService, "jwks": file}}
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ServeHTTP implements http.Handler.
func (s *tokenServer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if err := q.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	user, secret, _ := q.BasicAuth()
	how := "anonymous"
	switch {
	case q.Method == http.MethodPost && q.Form.Get("grant_type") == "refresh_token" && q.Form.Get("refresh_token") == identityToken:
		user, how = "bob", "identity token"
	case user != "" && secret == "secret":
		how = "password"
	case user != "" || q.Method == http.MethodPost:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var access []*token.ResourceActions
	for _, scope := range q.Form["scope"] {
		for _, one := range strings.Fields(scope) {
			s.mu.Lock()
			s.scopes = append(s.scopes, one)
			s.mu.Unlock()
			part := strings.Split(one, ":")
			actions := slices.DeleteFunc(strings.Split(part[2], ","), func(a string) bool {
				return user == "" || user == "eve" && a != "pull" || user == "ann" && !strings.HasPrefix(part[1], "ann/")
			})
			access = append(access, &token.ResourceActions{Type: part[0], Name: part[1], Actions: actions})
		}
	}
	s.mu.Lock()
	s.grants = append(s.grants, how)
	s.mu.Unlock()
	signed := s.sign(time.Now().Add(time.Hour), access)
	json.NewEncoder(w).Encode(map[string]any{"token": signed, "access_token": signed, "expires_in": 3600})
}

// sign makes a token that is good until a time.
func (s *tokenServer) sign(until time.Time, access []*token.ResourceActions) string {
	head, _ := json.Marshal(map[string]string{"typ": "JWT", "alg": "ES256", "kid": tokenKey})
	claims, _ := json.Marshal(token.ClaimSet{
		Issuer: tokenIssuer, Audience: token.AudienceList{tokenService}, Expiration: until.Unix(), Access: access,
	})
	text := base64URL(head) + "." + base64URL(claims)
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return text + "." + base64URL(signature)
}

// asked returns the scopes that were asked for, each once, and how, and forgets them.
func (s *tokenServer) asked() (scopes, grants []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scopes, grants = s.scopes, s.grants
	s.scopes, s.grants = nil, nil
	slices.Sort(scopes)
	slices.Sort(grants)
	return slices.Compact(scopes), slices.Compact(grants)
}

// withAuth writes a file of credentials for a registry.
func withAuth(t testing.TB, host string, entry map[string]string) Options {
	t.Helper()
	b, err := json.Marshal(map[string]any{"auths": map[string]any{host: entry}})
	artifacttest.Check(t, err)
	file := filepath.Join(t.TempDir(), "auth.json")
	artifacttest.Check(t, os.WriteFile(file, b, 0o600))
	return Options{AuthFile: file}
}

func password(user string) map[string]string {
	return map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":secret"))}
}

func TestTokensAreForWhatIsDone(t *testing.T) {
	tokens, src := newTokenServer(t, httptest.NewServer), registrytest.Store(t)
	d := newDistribution(t, tokens.auth(t), false)
	ref, _ := artifacttest.Tagged(t, src)
	app, other := d.Ref(t, "team/app:v1"), d.Ref(t, "other/app:v1")
	for _, tc := range []struct {
		name  string
		entry map[string]string
		do    func(r *Client) error
		want  []string
		how   string
		fails []string
	}{
		{"push", password("bob"), func(r *Client) error {
			_, err := artifact.Copy(t.Context(), r, app, src, ref, artifact.CopyOptions{})
			return err
		}, []string{"repository:team/app:pull,push"}, "password", nil},
		{"pull", password("eve"), func(r *Client) error {
			_, err := artifact.Copy(t.Context(), registrytest.Store(t), app, r, app, artifact.CopyOptions{})
			return err
		}, []string{"repository:team/app:pull"}, "password", nil},
		{"mount", password("bob"), func(r *Client) error {
			_, err := artifact.Copy(t.Context(), r, other, r, app, artifact.CopyOptions{})
			return err
		}, []string{"repository:other/app:pull,push", "repository:team/app:pull"}, "password", nil},
		{"push of who may not read where blobs could be mounted from", password("ann"), func(r *Client) error {
			o := artifact.CopyOptions{MountFrom: func(v1.Hash) (artifact.Reference, bool) { return app, true }}
			_, err := artifact.Copy(t.Context(), r, d.Ref(t, "ann/app:v1"), src, ref, o)
			return err
		}, []string{"repository:ann/app:pull,push", "repository:team/app:pull"}, "password", nil},
		{"push of who may only read", password("eve"), func(r *Client) error {
			_, err := artifact.Copy(t.Context(), r, d.Ref(t, "team/app:v2"), src, ref, artifact.CopyOptions{})
			return err
		}, []string{"repository:team/app:pull,push"}, "password", []string{`"eve"`, "sealrt login"}},
		{"identity token", map[string]string{"identitytoken": identityToken, "auth": "PHRva2VuPjo="}, func(r *Client) error {
			_, err := artifact.Copy(t.Context(), registrytest.Store(t), app, r, app, artifact.CopyOptions{})
			return err
		}, []string{"repository:team/app:pull"}, "identity token", nil},
	} {
		tokens.asked()
		err := tc.do(fastRegistry(withAuth(t, d.Host(), tc.entry)))
		if tc.fails != nil {
			artifacttest.WantError(t, err, tc.fails...)
		} else if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		scopes, how := tokens.asked()
		if diff := cmp.Diff(tc.want, scopes) + cmp.Diff([]string{tc.how}, how); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestTokensThatRunOutAreReplaced has the token of every request run out once that is not the first of its kind.
func TestTokensThatRunOutAreReplaced(t *testing.T) {
	tokens, src, dst := newTokenServer(t, httptest.NewServer), registrytest.Store(t), registrytest.Store(t)
	d := newDistribution(t, tokens.auth(t), false)
	ref, _ := layered(t, src, "app:v1", 1, 2)
	var mu sync.Mutex
	late := map[string]bool{}
	d.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		mu.Lock()
		first := !late[q.Method]
		late[q.Method] = true
		mu.Unlock()
		if first && q.Header.Get("Authorization") != "" {
			q.Header.Set("Authorization", "Bearer "+tokens.sign(time.Now().Add(-time.Hour), nil))
		}
		next.ServeHTTP(w, q)
	})
	o := withAuth(t, d.Host(), password("bob"))
	artifacttest.CopyImage(t, fastRegistry(o), d.Ref(t, "app:v1"), src, ref)
	for _, method := range []string{"POST", "PATCH", "PUT", "HEAD"} {
		if !late[method] {
			t.Errorf("no token of a %s ran out", method)
		}
		delete(late, method)
	}
	artifacttest.CopyImage(t, dst, ref, fastRegistry(o), d.Ref(t, "app:v1"))
	artifacttest.RequireWholeStore(t, dst, ref)
}
