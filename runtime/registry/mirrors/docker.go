package mirrors

import (
	"encoding/json"
	"fmt"
	"slices"
)

// DaemonFile is the configuration of docker's daemon.
const DaemonFile = "/etc/docker/daemon.json"

// docker's own registry is the only one that its daemon takes mirrors for
// (docs.docker.com, "Registry as a pull through cache").
const dockerHub = "docker.io"

// Docker returns the configuration of docker's daemon with the mirror first in
// the list of mirrors. All else of existing, the text of such a file or "",
// stays. changed is false where no image is of docker.io, and there is nothing
// to mirror.
func Docker(m Mirror, existing string) (f File, changed bool, err error) {
	at, err := m.parse()
	if err != nil {
		return File{}, false, err
	}
	if !m.Others && !slices.Contains(m.Registries, dockerHub) {
		return File{}, false, nil
	}
	if at.prefix != "" {
		return File{}, false, fmt.Errorf("mirror %s: %w", m.Endpoint, errNoPath)
	}
	doc := map[string]json.RawMessage{}
	if existing != "" {
		if err := json.Unmarshal([]byte(existing), &doc); err != nil {
			return File{}, false, fmt.Errorf("%s: %w", DaemonFile, err)
		}
	}
	var list []string
	if raw, ok := doc["registry-mirrors"]; ok {
		if err := json.Unmarshal(raw, &list); err != nil {
			return File{}, false, fmt.Errorf("%s: registry-mirrors: %w", DaemonFile, err)
		}
	}
	list = slices.DeleteFunc(list, func(e string) bool { return e == at.root || e == at.root+"/" })
	raw, err := json.Marshal(append([]string{at.root}, list...))
	if err != nil {
		return File{}, false, err
	}
	if doc == nil { // the file was: null
		doc = map[string]json.RawMessage{}
	}
	doc["registry-mirrors"] = raw
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return File{}, false, fmt.Errorf("%s: %w", DaemonFile, err)
	}
	return File{Path: DaemonFile, Data: string(text) + "\n", Mode: 0o644}, true, nil
}
