{{- define "culvert.labels" -}}
app.kubernetes.io/part-of: culvert
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/version: {{ (.tag | default .root.Chart.AppVersion) | quote }}
{{- end }}

{{- define "culvert.image" -}}
{{ .root.Values.registry }}/culvert-{{ .name }}:{{ .tag | default .root.Values.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "culvert.pull" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "culvert.token" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken: {audience: culvert-ca, expirationSeconds: 3600, path: token}
{{- end }}

{{- /* No capability, no new privilege, nothing written, a system call filter. */}}
{{- define "culvert.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
