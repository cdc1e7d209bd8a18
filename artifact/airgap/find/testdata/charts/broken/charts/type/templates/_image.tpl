{{- define "image" }}
{{ .Values.image.repository }}
{{- end }}
