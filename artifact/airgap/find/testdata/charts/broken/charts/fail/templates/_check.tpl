{{- define "check" }}
{{- fail "choose one of:\n  a\n  b" }}
{{- end }}
