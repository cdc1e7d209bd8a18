{{- define "web.image" -}}
{{ .repository }}:{{ .tag }}
{{- end }}
{{- define "web.init" -}}
- name: init
  image: busybox:1.36
{{- end }}
