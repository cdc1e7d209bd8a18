package clusterfile

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Strings is a list that may be written as one string when it has one.
type Strings []string

// String joins the list with commas, as flags and configurations take lists.
func (s Strings) String() string { return strings.Join(s, ",") }

// UnmarshalJSON reads a list, or one string.
func (s *Strings) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte{'"'}) {
		return json.Unmarshal(b, (*[]string)(s))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*s = Strings{one}
	return nil
}

// MarshalJSON writes a list of one as a string.
func (s Strings) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}
