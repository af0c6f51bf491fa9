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

{{- /* The rule of docs/install.md. What runs is checked by the Job; this is what was asked for. */}}
{{- define "culvert.skew" -}}
{{- with .Values.dataPlaneTag }}
{{- $own := semver $.Chart.AppVersion }}
{{- $theirs := semver . }}
{{- $behind := sub $own.Minor $theirs.Minor | int }}
{{- if or (ne $own.Major $theirs.Major) (lt $behind 0) (gt $behind 1) }}
{{- fail (printf "dataPlaneTag %s: agents and ztunnels may be one minor version behind their controller, never ahead, and this is %s" . $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}
