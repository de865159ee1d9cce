{{/*
The way out. An address with a user or a password in it goes into the chart's own Secret, and the pod takes
it from there, so that anyone who may read pods and StatefulSets does not read the password.
*/}}

{{/*
Whether an address that is written in the values is to be hidden: "true" or "". No user information without an `@`, so
none is missed. A variable, `$(NAME)`, is replaced by Kubernetes in the pod alone, so an address whose password is one stays there.
(dict "address" "…" "where" "proxy.https")
*/}}
{{- define "comfycontrol-exporter.hidesProxy" -}}
{{- $variable := `\$\([A-Za-z_][A-Za-z0-9_.-]*\)` -}}
{{- if not (contains "@" .address) -}}
{{- else if not (regexMatch $variable .address) -}}
true
{{- else if not (regexMatch (printf `^([A-Za-z0-9+.-]+://)?(%s|[^:@/$]*:%s|%s:%s)@[^@]*$` $variable $variable $variable $variable) .address) -}}
{{- fail (printf "\n\n%s has a variable within a password or beside one. Put the whole password into the variable, as in `http://$(PROXY_USER):$(PROXY_PASSWORD)@…`, or the whole address into a Secret: proxy.secret.\n" .where) -}}
{{- end -}}
{{- end -}}

{{/* What the chart's own Secret holds: by key, not encoded. */}}
{{- define "comfycontrol-exporter.hiddenProxies" -}}
{{- $hidden := dict -}}
{{- range $key := list "https" "http" -}}
{{- $address := index $.Values.proxy $key | default "" -}}
{{- if include "comfycontrol-exporter.hidesProxy" (dict "address" $address "where" (printf "proxy.%s" $key)) -}}
{{- $_ := set $hidden $key $address -}}
{{- end -}}
{{- end -}}
{{- toYaml $hidden -}}
{{- end -}}

{{/* The pod's variables. */}}
{{- define "comfycontrol-exporter.proxyVariables" -}}
{{- $proxy := .Values.proxy -}}
{{- $hidden := include "comfycontrol-exporter.hiddenProxies" . | fromYaml -}}
{{- $keys := dict "https" "" "http" "" -}}
{{- if $proxy.secret.name -}}
{{- $keys = dict "https" ($proxy.secret.httpsKey | default "") "http" ($proxy.secret.httpKey | default "") -}}
{{- if not (or $keys.https $keys.http) -}}
{{- fail "\n\nproxy.secret names no key. Say where in the Secret the address is: httpsKey, httpKey or both.\n" -}}
{{- end -}}
{{- end -}}
{{- $variables := list -}}
{{- range $key := list "https" "http" -}}
{{- $variable := printf "%s_PROXY" (upper $key) -}}
{{- if index $keys $key -}}
{{- if index $proxy $key -}}
{{- fail (printf "\n\nproxy.%s is given along with proxy.secret.%sKey. Keep one; with `%sKey: \"\"` the Secret is not asked for it.\n" $key $key $key) -}}
{{- end -}}
{{- $ref := dict "name" $proxy.secret.name "key" (index $keys $key) -}}
{{- $variables = append $variables (dict "name" $variable "valueFrom" (dict "secretKeyRef" $ref)) -}}
{{- else if hasKey $hidden $key -}}
{{- $ref := dict "name" (printf "%s-proxy" (include "comfycontrol-exporter.fullname" $)) "key" $key -}}
{{- $variables = append $variables (dict "name" $variable "valueFrom" (dict "secretKeyRef" $ref)) -}}
{{- else if index $proxy $key -}}
{{- $variables = append $variables (dict "name" $variable "value" (index $proxy $key)) -}}
{{- end -}}
{{- end -}}
{{- with $proxy.none -}}
{{- $variables = append $variables (dict "name" "NO_PROXY" "value" .) -}}
{{- end -}}
{{- if $variables -}}{{- toYaml $variables -}}{{- end -}}
{{- end -}}

{{/*
Changes with what the chart's own Secret holds, for a variable is read once, at the start. Annotations are no secret: a plain digest
would let a list of passwords be tried, so the digest is of what `derivePassword`, which is slow by design, makes of them.
*/}}
{{- define "comfycontrol-exporter.proxyChecksum" -}}
{{- with include "comfycontrol-exporter.hiddenProxies" . | fromYaml -}}
{{- derivePassword 1 "maximum" (toJson .) "checksum" "proxy" | sha256sum | trunc 16 -}}
{{- end -}}
{{- end -}}
