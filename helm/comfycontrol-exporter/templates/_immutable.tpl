{{/*
What of the StatefulSet the cluster would refuse to change, said before it does, with what to do. Without a cluster (`helm template`,
Argo CD) there is nothing to compare with.
*/}}
{{- define "comfycontrol-exporter.checkImmutable" -}}
{{- $name := include "comfycontrol-exporter.fullname" . -}}
{{- $namespace := include "comfycontrol-exporter.namespace" . -}}
{{- $live := lookup "apps/v1" "StatefulSet" $namespace $name -}}
{{- if $live -}}
{{- $changed := list -}}
{{- $claims := default list $live.spec.volumeClaimTemplates -}}
{{- $wanted := and .Values.persistence.enabled (not .Values.persistence.existingClaim) -}}
{{- $selector := include "comfycontrol-exporter.selectorLabels" . | fromYaml -}}
{{- if ne (toJson $selector) (toJson $live.spec.selector.matchLabels) -}}
{{- $changed = append $changed "nameOverride (the labels by which it finds its pod)" -}}
{{- end -}}
{{- if and $claims (not $wanted) -}}
{{- $changed = append $changed (ternary "persistence.existingClaim" "persistence.enabled" .Values.persistence.enabled) -}}
{{- else if and $wanted (not $claims) -}}
{{- $changed = append $changed "persistence.enabled or persistence.existingClaim" -}}
{{- else if $wanted -}}
{{- $claim := first $claims -}}
{{- with .Values.persistence -}}
{{- if ne .size (dig "resources" "requests" "storage" "" $claim.spec) -}}
{{- $changed = append $changed (printf "persistence.size (%s now)" (dig "resources" "requests" "storage" "" $claim.spec)) -}}
{{- end -}}
{{- if ne (toJson .accessModes) (toJson $claim.spec.accessModes) -}}
{{- $changed = append $changed "persistence.accessModes" -}}
{{- end -}}
{{- $class := ternary "" .storageClassName (eq .storageClassName "-") -}}
{{- if or (ne $class (dig "storageClassName" "" $claim.spec)) (ne (eq .storageClassName "") (not (hasKey $claim.spec "storageClassName"))) -}}
{{- $changed = append $changed "persistence.storageClassName" -}}
{{- end -}}
{{- if ne (toJson (default dict .annotations)) (toJson (default dict (dig "annotations" dict $claim.metadata))) -}}
{{- $changed = append $changed "persistence.annotations" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $changed -}}
{{- $orphan := ternary " --cascade=orphan" "" (and (not (empty $claims)) $wanted) -}}
{{- fail (printf "\n\nKubernetes lets nobody change this in a StatefulSet that is there: %s.\nKeep the value as it was, or delete the StatefulSet, and then upgrade again, which makes it again:\n  kubectl -n %s delete statefulset %s%s\nThe claim, with the ledger in it, stays. What else each change needs, and what an emptyDir loses: docs/kubernetes.md, \"Change the volume\".\n" (join ", " $changed) $namespace $name $orphan) -}}
{{- end -}}
{{- end -}}
{{- end -}}
