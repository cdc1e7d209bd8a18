package remote

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/sealrt/sealrt/artifact/layer"
)

// maxFileName is the length in bytes from which on Linux knows no file name.
const maxFileName = 255

// IsAddress says whether a source of ADD is an address rather than a path in the context. Addresses of git
// repositories are, so that they are refused as such.
func IsAddress(source string) bool {
	scheme, _, ok := strings.Cut(source, "://")
	if ok && scheme != "" && !strings.ContainsAny(scheme, "/.") {
		return true
	}
	return strings.HasPrefix(source, "git@") || strings.HasPrefix(source, "github.com/") && strings.ContainsAny(source, "#") ||
		strings.HasPrefix(source, "github.com/") && strings.HasSuffix(source, ".git")
}

// CheckAddress returns what is wrong with an address that no server needs to be asked for: a git repository, say.
func CheckAddress(source string) error {
	_, err := parseAddress(source)
	return err
}

// parseAddress reads the URL of a remote file. What ADD of docker reads and this one does not is an error that says what
// to write instead.
func parseAddress(source string) (*url.URL, error) {
	plain, _, _ := strings.Cut(source, "#")
	u, err := url.Parse(source)
	shown := "the source"
	switch {
	case strings.HasPrefix(source, "git@"), strings.HasPrefix(source, "github.com/"):
		shown = source
	case err == nil:
		shown = publicURL(u)
	}
	isWeb := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	switch {
	case strings.HasPrefix(source, "git@"), strings.HasPrefix(source, "git://"), strings.HasPrefix(source, "git+"), strings.HasPrefix(source, "ssh://"),
		strings.HasPrefix(source, "github.com/"), isWeb && strings.HasSuffix(strings.TrimSuffix(plain, "/"), ".git"):
		return nil, fmt.Errorf("%s: ADD does not read git repositories: give the URL of an archive of it, such as https://github.com/OWNER/NAME/archive/refs/tags/TAG.tar.gz, or clone it and COPY", shown)
	case err != nil && strings.Contains(source, "@"):
		return nil, errors.New("the source of ADD is not a URL: write user and password with codes for what is no letter or digit, %2F for a slash") // the cause would show them
	case err != nil:
		return nil, fmt.Errorf("the source of ADD is not a URL: %w", errors.Unwrap(err))
	case !isWeb:
		return nil, fmt.Errorf("%s: ADD reads http and https only, not %q: fetch the file and COPY it", shown, u.Scheme)
	case u.Host == "":
		return nil, fmt.Errorf("%s: the URL has no host: write https://host/path", shown)
	case !utf8.ValidString(source):
		return nil, fmt.Errorf("the source of ADD is not a URL: it is not UTF-8")
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// urlFileName returns the last part of the URL's path, as docker takes it for the name of the file; "" when that is
// none.
func urlFileName(u *url.URL) string {
	if base := path.Base(u.Path); base != "." && base != "/" {
		return cleanFileName(base)
	}
	return ""
}

// headerFileName returns the name that a server gives a file (RFC 6266), without directories; "" when it does not.
func headerFileName(h http.Header) string {
	_, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	name := params["filename"]
	return cleanFileName(name[strings.LastIndexAny(name, `/\`)+1:])
}

// cleanFileName returns name, or "" when no file of an image may be called so.
func cleanFileName(name string) string {
	control := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if name == "." || name == ".." || strings.Contains(name, "/") || strings.HasPrefix(name, layer.WhiteoutPrefix) ||
		control || len(name) > maxFileName || !utf8.ValidString(name) {
		return ""
	}
	return name
}
