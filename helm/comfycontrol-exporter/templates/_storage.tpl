{{/* Where the ledger is: SQLite in the volume of a StatefulSet, or PostgreSQL, which the pods of a Deployment share. */}}

{{/* "true" or "". */}}
{{- define "comfycontrol-exporter.inPostgres" -}}
{{- if dig "storage" false (default dict .Values.config) -}}
{{- fail "\n\nconfig.storage is the chart's to say. Put the connection string into a Secret and name it: storage.postgres.existingSecret.\n" -}}
{{- end -}}
{{- if .Values.storage.postgres.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* Whether there are several pods: "true" or "". */}}
{{- define "comfycontrol-exporter.hasSeveral" -}}
{{- if and (include "comfycontrol-exporter.inPostgres" .) (gt (int .Values.replicas) 1) -}}true{{- end -}}
{{- end -}}

{{/* What runs the pods, as kubectl calls it. */}}
{{- define "comfycontrol-exporter.workload" -}}
{{- ternary "deployment" "statefulset" (not (empty (include "comfycontrol-exporter.inPostgres" .))) -}}
{{- end -}}

{{- define "comfycontrol-exporter.checkAlone" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail (printf "\n\nreplicas is %d, and the ledger is SQLite in a volume: each exporter would count every outcome once more.\nKeep replicas: 1, or let them share a ledger in PostgreSQL: storage.postgres.existingSecret.\n" (int .Values.replicas)) -}}
{{- end -}}
{{- include "comfycontrol-exporter.checkMoved" (dict "root" . "from" "Deployment") -}}
{{- end -}}

{{/*
The ledger of a release that runs stays where it is until it was copied: Helm makes the new pods before it removes the old ones, and
both would count. (dict "root" $ "from" "StatefulSet")
*/}}
{{- define "comfycontrol-exporter.checkMoved" -}}
{{- $name := include "comfycontrol-exporter.fullname" .root -}}
{{- $namespace := include "comfycontrol-exporter.namespace" .root -}}
{{- $live := lookup "apps/v1" .from $namespace $name -}}
{{- if and $live (ne (int (dig "spec" "replicas" 1 $live)) 0) -}}
{{- fail (printf "\n\nThe release runs with its ledger in %s, and the new pods would count the same once more, from the beginning.\nStop it, copy the ledger, and then upgrade again:\n  kubectl -n %s scale %s/%s --replicas=0\nHow the ledger is copied: docs/kubernetes.md, \"From the volume to PostgreSQL\".\n" (ternary "a volume" "PostgreSQL" (eq .from "StatefulSet")) $namespace (lower .from) $name) -}}
{{- end -}}
{{- end -}}
