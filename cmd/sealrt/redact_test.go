package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSecretsAreTakenOut(t *testing.T) {
	r := newRedactor([]string{"hunter2-hunter2\n", "short", "of", "first line\nsecond line"})
	for text, want := range map[string]string{
		"the word is hunter2-hunter2.":     "the word is [redacted].",
		"a short one, shorter":             "a [redacted] one, shorter",
		"out of it":                        "out of it",
		"aHVudGVyMi1odW50ZXIy":             "[redacted]",
		"- name: DB_PASSWORD\n  value: x1": "- name: DB_PASSWORD\n  value: [redacted]",
		"node sh[1]: - name: API_TOKEN\nnode sh[1]:   value: x y":                  "node sh[1]: - name: API_TOKEN\nnode sh[1]:   value: [redacted]",
		"- name: TZ\n  value: UTC":                                                 "- name: TZ\n  value: UTC",
		`{"name":"DB_PWD","value":"a b c"}`:                                        `{"name":"DB_PWD","value":"[redacted]"}`,
		`password: "my own words"`:                                                 `password: "[redacted]"`,
		`password = 'my own words'`:                                                `password = '[redacted]'`,
		`msg="{\"token\":\"abcdef\"}"`:                                             `msg="{\"token\":\"[redacted]\"}"`,
		`audit: type=1309 a0="x" a1="-psec"`:                                       "[redacted]\n",
		"x first line\nsecond line y":                                              "x [redacted] y",
		"password: pw-12345":                                                       "password: [redacted]",
		`{"token":"abcdefgh","name":"x"}`:                                          `{"token":"[redacted]","name":"x"}`,
		"kubeadm join --token abcdef.0123456789abcdef":                             "kubeadm join --token [redacted]",
		"--certificate-key 0123abcd -v":                                            "--certificate-key [redacted] -v",
		"Authorization: Bearer abc.def-ghi":                                        "Authorization: [redacted] [redacted]",
		"http://me:pw@proxy:3128/":                                                 "http://me:[redacted]proxy:3128/",
		"K10" + strings.Repeat("0a", 20) + "::server:x":                            "[redacted]",
		"-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nafter": "[redacted]\nafter",
		"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----":              "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
		"10.0.0.1 is Ready since 5m":                                               "10.0.0.1 is Ready since 5m",
	} {
		got := string(r.text([]byte(text)))
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestTheEndOfALongTextIsKept(t *testing.T) {
	l := &lastBytes{max: 100}
	for range 1000 {
		_, _ = l.Write([]byte("a line of text\n"))
	}
	_, _ = l.Write([]byte("the end\n"))
	b := l.bytes()
	if len(b) > 100 || !bytes.HasPrefix(b, []byte("a line")) || !bytes.HasSuffix(b, []byte("the end\n")) || l.lost+100 < 15000 {
		t.Errorf("kept %q, lost %d", b, l.lost)
	}
}
