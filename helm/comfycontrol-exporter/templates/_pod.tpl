{{/* The pod, whatever runs it. */}}
{{- define "comfycontrol-exporter.pod" -}}
{{- if and .Values.web.config .Values.web.existingSecret }}
{{- fail "\n\nweb.config is given along with web.existingSecret. Keep one of the two.\n" }}
{{- end }}
{{- if and .Values.web.tlsSecret (not (include "comfycontrol-exporter.hasWebConfig" .)) }}
{{- fail "\n\nweb.tlsSecret alone turns no TLS on. Add\n  web: {config: {tls_server_config: {cert_file: tls.crt, key_file: tls.key}}}\n" }}
{{- end -}}
metadata:
  labels:
    {{- mergeOverwrite (dict) (default dict .Values.commonLabels) (default dict .Values.podLabels) (include "comfycontrol-exporter.selectorLabels" . | fromYaml) | toYaml | nindent 4 }}
  annotations:
    {{- $own := dict "kubectl.kubernetes.io/default-container" "exporter" }}
    {{- $scrape := include "comfycontrol-exporter.scrapeAnnotations" (dict "root" $ "target" "pod") | fromYaml }}
    {{- $checksum := dict }}
    {{- if and (eq .Values.reload "rollout") (not .Values.existingConfig.name) }}
    {{- $checksum = dict "checksum/config" (include "comfycontrol-exporter.config" . | sha256sum) }}
    {{- end }}
    {{- with include "comfycontrol-exporter.proxyChecksum" . }}
    {{- $_ := set $checksum "checksum/proxy" . }}
    {{- end }}
    {{- mergeOverwrite (dict) $own (default dict .Values.commonAnnotations) $scrape (default dict .Values.podAnnotations) $checksum | toYaml | nindent 4 }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "comfycontrol-exporter.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.affinity }}
  affinity:
    {{- tpl (toYaml .Values.affinity) $ | nindent 4 }}
  {{- else if include "comfycontrol-exporter.hasSeveral" . }}
  affinity:
    podAntiAffinity:
      # Preferred, so that a cluster with few nodes runs them as well.
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "comfycontrol-exporter.selectorLabels" . | nindent 16 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- tpl (toYaml .Values.topologySpreadConstraints) $ | nindent 4 }}
  {{- else if include "comfycontrol-exporter.hasSeveral" . }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "comfycontrol-exporter.selectorLabels" . | nindent 10 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "comfycontrol-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --config.file=/etc/comfycontrol-exporter/config/config.yml
        {{- if eq .Values.reload "watch" }}
        - --config.watch
        {{- end }}
        {{- if include "comfycontrol-exporter.inPostgres" . }}
        - --storage.postgres.dsn-file=/etc/comfycontrol-exporter/database/{{ .Values.storage.postgres.key }}
        {{- else }}
        - --storage.path=/data
        {{- end }}
        - --web.listen-address=:{{ .Values.web.port }}
        - --web.telemetry-path={{ .Values.web.telemetryPath }}
        {{- if include "comfycontrol-exporter.hasWebConfig" . }}
        - --web.config.file=/etc/comfycontrol-exporter/web/{{ .Values.web.key }}
        {{- end }}
        - --log.level={{ .Values.log.level }}
        - --log.format={{ .Values.log.format }}
        {{- range .Values.extraArgs }}
        - {{ tpl . $ | quote }}
        {{- end }}
      {{- $proxy := include "comfycontrol-exporter.proxyVariables" . }}
      {{- if or $proxy .Values.caBundle.name .Values.extraEnv }}
      env:
        {{- with $proxy }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if .Values.caBundle.name }}
        - name: REQUESTS_CA_BUNDLE
          value: /etc/comfycontrol-exporter/ca/{{ .Values.caBundle.key }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- tpl (toYaml .) $ | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- tpl (toYaml .) $ | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: {{ .Values.web.port }}
          protocol: TCP
      {{- with include "comfycontrol-exporter.probe" (dict "root" $ "probe" .Values.startupProbe "path" "/-/healthy") }}
      startupProbe:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with include "comfycontrol-exporter.probe" (dict "root" $ "probe" .Values.livenessProbe "path" "/-/healthy") }}
      livenessProbe:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with include "comfycontrol-exporter.probe" (dict "root" $ "probe" .Values.readinessProbe "path" "/-/ready") }}
      readinessProbe:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- if include "comfycontrol-exporter.inPostgres" . }}
        - name: database
          mountPath: /etc/comfycontrol-exporter/database
          readOnly: true
        {{- else }}
        - name: data
          mountPath: /data
        {{- end }}
        - name: config
          mountPath: /etc/comfycontrol-exporter/config
          readOnly: true
        {{- if include "comfycontrol-exporter.hasWebConfig" . }}
        - name: web
          mountPath: /etc/comfycontrol-exporter/web
          readOnly: true
        {{- end }}
        {{- if include "comfycontrol-exporter.workflowFiles" . }}
        - name: workflows
          mountPath: /etc/comfycontrol-exporter/workflows
          readOnly: true
        {{- end }}
        {{- if .Values.caBundle.name }}
        - name: ca
          mountPath: /etc/comfycontrol-exporter/ca
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- tpl (toYaml .) $ | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      projected:
        defaultMode: 0440
        sources:
          {{- include "comfycontrol-exporter.configSources" . | nindent 10 }}
    {{- if include "comfycontrol-exporter.hasWebConfig" . }}
    - name: web
      projected:
        defaultMode: 0440
        sources:
          {{- include "comfycontrol-exporter.webSources" . | nindent 10 }}
    {{- end }}
    {{- with include "comfycontrol-exporter.workflowFiles" . }}
    - name: workflows
      configMap:
        name: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.caBundle }}
    {{- if .name }}
    - name: ca
      projected:
        defaultMode: 0444
        sources:
          - {{ ternary "secret" "configMap" (eq .kind "Secret") }}:
              name: {{ .name }}
              items:
                - key: {{ .key }}
                  path: {{ .key }}
    {{- end }}
    {{- end }}
    {{- if include "comfycontrol-exporter.inPostgres" . }}
    - name: database
      secret:
        secretName: {{ .Values.storage.postgres.existingSecret }}
        defaultMode: 0440
    {{- else if not .Values.persistence.enabled }}
    # The ledger goes with the pod: after each replacement counting begins at 0 again.
    - name: data
      emptyDir:
        {{- with .Values.persistence.emptyDirSizeLimit }}
        sizeLimit: {{ . }}
        {{- else }} {}
        {{- end }}
    {{- else if .Values.persistence.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
{{- end -}}
