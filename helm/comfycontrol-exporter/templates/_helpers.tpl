{{/* Names and labels. A StatefulSet's name has 52 characters at most: its pods carry a hash after it in a label. */}}
{{- define "comfycontrol-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "comfycontrol-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "comfycontrol-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "comfycontrol-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "comfycontrol-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: exporter
{{- end -}}

{{/* Labels of an object: (dict "root" $ "labels" .Values.….labels "component" "…"). */}}
{{- define "comfycontrol-exporter.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "comfycontrol-exporter.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/component" (default "exporter" .component)
  "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_")
  "app.kubernetes.io/managed-by" .root.Release.Service
-}}
{{- mergeOverwrite (dict) (default dict .root.Values.commonLabels) (default dict .labels) $own | toYaml -}}
{{- end -}}

{{/* The whole of `metadata`: (dict "root" $ "name" "…" "labels" … "annotations" … "namespace" …). */}}
{{- define "comfycontrol-exporter.metadata" -}}
name: {{ .name }}
namespace: {{ default (include "comfycontrol-exporter.namespace" .root) .namespace }}
labels:
  {{- include "comfycontrol-exporter.labels" . | nindent 2 }}
{{- with mergeOverwrite (dict) (default dict .root.Values.commonAnnotations) (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "comfycontrol-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "comfycontrol-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "comfycontrol-exporter.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The web side: whether there is a file, `http` or `https`, and whether clients need a certificate ("true" or ""). */}}
{{- define "comfycontrol-exporter.hasWebConfig" -}}
{{- if or .Values.web.config .Values.web.existingSecret -}}true{{- end -}}
{{- end -}}

{{- define "comfycontrol-exporter.scheme" -}}
{{- if .Values.web.scheme -}}
{{- .Values.web.scheme -}}
{{- else if or (dig "tls_server_config" dict (default dict .Values.web.config)) (and .Values.web.existingSecret .Values.web.tlsSecret) -}}
https
{{- else -}}
http
{{- end -}}
{{- end -}}

{{- define "comfycontrol-exporter.requiresClientCertificates" -}}
{{- $asked := .Values.web.requiresClientCertificates -}}
{{- if kindIs "bool" $asked -}}
{{- if $asked -}}true{{- end -}}
{{- else if eq (dig "tls_server_config" "client_auth_type" "" (default dict .Values.web.config)) "RequireAndVerifyClientCert" -}}
true
{{- end -}}
{{- end -}}

{{/* A probe, or nothing where it is null: (dict "root" $ "probe" .Values.livenessProbe "path" "/-/healthy"). */}}
{{- define "comfycontrol-exporter.probe" -}}
{{- if kindIs "map" .probe -}}
{{- $handler := dict -}}
{{- if not (or (hasKey .probe "exec") (hasKey .probe "httpGet") (hasKey .probe "tcpSocket") (hasKey .probe "grpc")) -}}
{{- if include "comfycontrol-exporter.requiresClientCertificates" .root -}}
{{- $handler = dict "tcpSocket" (dict "port" "http") -}}
{{- else -}}
{{- $scheme := include "comfycontrol-exporter.scheme" .root | upper -}}
{{- $handler = dict "httpGet" (dict "path" .path "port" "http" "scheme" $scheme) -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite (dict) $handler .probe | toYaml -}}
{{- end -}}
{{- end -}}

{{/* The annotations by which a Prometheus without the operator finds it, where they belong: (dict "root" $ "target" "pod"). */}}
{{- define "comfycontrol-exporter.scrapeAnnotations" -}}
{{- $values := .root.Values -}}
{{- if and $values.scrapeAnnotations.enabled (eq $values.scrapeAnnotations.target .target) -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ ternary $values.web.port $values.service.port (eq .target "pod") | toString | quote }}
prometheus.io/path: {{ $values.web.telemetryPath | quote }}
prometheus.io/scheme: {{ include "comfycontrol-exporter.scheme" .root }}
{{- end -}}
{{- end -}}

{{/* What ServiceMonitor and PodMonitor have in common: (dict "root" $ "monitor" .Values.serviceMonitor). */}}
{{- define "comfycontrol-exporter.endpoint" -}}
port: http
path: {{ .root.Values.web.telemetryPath }}
scheme: {{ include "comfycontrol-exporter.scheme" .root }}
{{- with .monitor.interval }}
interval: {{ . }}
{{- end }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .monitor.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
relabelings:
  # The alerts look for the exporter under this name.
  - targetLabel: job
    replacement: {{ .root.Values.rules.settings.job }}
  # The next pod has another address and the same name: counters go on as the same series, and what was
  # counted right after a restart is not missed by increase().
  - sourceLabels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name]
    separator: /
    targetLabel: instance
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .monitor.metricRelabelings (include "comfycontrol-exporter.inPostgres" .root) }}
metricRelabelings:
  {{- if include "comfycontrol-exporter.inPostgres" .root }}
  # Series of an account move with it from pod to pod, and stay the same series. `none` is no group of the expression, so both labels
  # become empty; an empty text here would be left out by older operators.
  {{- range list "instance" "pod" }}
  - sourceLabels: [__name__]
    regex: {{ $.root.Files.Get "files/series_of_accounts.txt" | trim | quote }}
    targetLabel: {{ . }}
    replacement: ${none}
  {{- end }}
  {{- end }}
  {{- with .monitor.metricRelabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "comfycontrol-exporter.monitor" -}}
{{- with .monitor.targetLabels }}
{{ $.key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.sampleLimit }}
sampleLimit: {{ . }}
{{- end }}
namespaceSelector:
  matchNames:
    - {{ include "comfycontrol-exporter.namespace" .root }}
selector:
  matchLabels:
    {{- include "comfycontrol-exporter.selectorLabels" .root | nindent 4 }}
{{- if .monitor.scrapeClassicHistograms }}
scrapeClassicHistograms: true
{{- end }}
{{- end -}}
