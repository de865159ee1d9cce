{{/*
The exporter's configuration and where its tokens come from. Nothing here puts a token anywhere but
into the chart's own Secret.
*/}}

{{/* Accounts by name, with the one that `token` and `tokenSecret` stand for. */}}
{{- define "comfycontrol-exporter.accounts" -}}
{{- $single := or .Values.token .Values.tokenSecret.name -}}
{{- with include "comfycontrol-exporter.checkWritten" .Values.token }}{{ fail (printf "\n\ntoken %s\n" .) }}{{ end -}}
{{- if and $single .Values.accounts -}}
{{- fail "\n\ntoken or tokenSecret is given along with accounts. Keep one: move the token to its account, as in\n  accounts: {studio: {tokenSecret: {name: comfycontrol, key: token}, listing: {}}}\n" -}}
{{- else if .Values.accounts -}}
{{- range $name, $account := .Values.accounts -}}
{{- $where := printf "accounts.%s" $name -}}
{{- include "comfycontrol-exporter.checkToken" (dict "given" $account "where" $where "example" (printf "tokenSecret: {name: comfycontrol, key: %s}" $name)) -}}
{{- if hasKey $account "push" -}}
{{- include "comfycontrol-exporter.checkToken" (dict "given" $account.push "where" (printf "%s.push" $where) "example" "tokenSecret: {name: comfycontrol, key: push}") -}}
{{- end -}}
{{- $ways := $.Files.Get "files/ways_in.json" | fromJson -}}
{{- $named := false -}}
{{- range $ways.keys -}}
{{- $value := get $account . -}}
{{- if and (hasKey $account .) (not (kindIs "invalid" $value)) (not (and (kindIs "slice" $value) (empty $value))) }}{{ $named = true }}{{ end -}}
{{- end -}}
{{- if not $named -}}
{{- fail (printf "\n\n%s has no workflows to follow. %s\n" $where $ways.hint) -}}
{{- end -}}
{{- end -}}
{{- toYaml .Values.accounts -}}
{{- else if $single -}}
{{- $token := ternary (dict "token" .Values.token) (dict "tokenSecret" .Values.tokenSecret) (not (empty .Values.token)) -}}
{{- if and .Values.token .Values.tokenSecret.name -}}
{{- fail "\n\ntoken is given along with tokenSecret.name. Keep one of the two.\n" -}}
{{- end -}}
{{- dict "default" (merge (dict "listing" dict) $token) | toYaml -}}
{{- else -}}
{{- fail "\n\nThere is no account to follow. Make a Secret with the API token and name it:\n  kubectl create secret generic comfycontrol --from-literal=token=cfc_...\n  helm install ... --set tokenSecret.name=comfycontrol\nFor several accounts, see `accounts` in the chart's README.\n" -}}
{{- end -}}
{{- end -}}

{{/* What is wrong with a token that is a variable in part: neither the ConfigMap nor a file could hold it. */}}
{{- define "comfycontrol-exporter.checkWritten" -}}
{{- if and (include "comfycontrol-exporter.isLiteral" .) (regexMatch `\$\{[A-Za-z_][A-Za-z0-9_]*\}` .) -}}
has a variable within other text. Put the whole token into the variable, as in `${STUDIO_TOKEN}`.
{{- end -}}
{{- end -}}

{{- define "comfycontrol-exporter.checkToken" -}}
{{- $where := .where -}}
{{- with include "comfycontrol-exporter.checkWritten" .given.token }}{{ fail (printf "\n\n%s.token %s\n" $where .) }}{{ end -}}
{{- $ways := list -}}
{{- range list "token" "token_file" "tokenSecret" -}}
{{- if index $.given . }}{{ $ways = append $ways . }}{{ end -}}
{{- end -}}
{{- if not $ways -}}
{{- fail (printf "\n\n%s has no token. Add `%s`, or `token` or `token_file`.\n" .where .example) -}}
{{- else if gt (len $ways) 1 -}}
{{- fail (printf "\n\n%s has more than one of %s. Keep one.\n" .where (join " and " $ways)) -}}
{{- end -}}
{{- end -}}

{{/* Whether a token is written out, and not a variable of the exporter's environment: "true" or "". */}}
{{- define "comfycontrol-exporter.isLiteral" -}}
{{- if and . (not (regexMatch `^\$\{[A-Za-z_][A-Za-z0-9_]*\}$` .)) -}}true{{- end -}}
{{- end -}}

{{/* One entry of the configuration without its token: (dict "given" … "file" "token-studio"). */}}
{{- define "comfycontrol-exporter.withoutToken" -}}
{{- $entry := omit .given "token" "tokenSecret" "token_file" "push" -}}
{{- if .given.token_file -}}
{{- $entry = set $entry "token_file" .given.token_file -}}
{{- else if or .given.tokenSecret (include "comfycontrol-exporter.isLiteral" .given.token) -}}
{{- $entry = set $entry "token_file" .file -}}
{{- else -}}
{{- $entry = set $entry "token" .given.token -}}
{{- end -}}
{{- toYaml $entry -}}
{{- end -}}

{{- define "comfycontrol-exporter.config" -}}
{{- $entries := list -}}
{{- range $name, $account := include "comfycontrol-exporter.accounts" . | fromYaml -}}
{{- $entry := include "comfycontrol-exporter.withoutToken" (dict "given" $account "file" (printf "token-%s" $name)) | fromYaml -}}
{{- if hasKey $account "push" -}}
{{- if include "comfycontrol-exporter.isLiteral" $account.push.token | or $account.push.tokenSecret $account.push.token_file | not -}}
{{- fail (printf "\n\naccounts.%s.push.token cannot be a variable. Use `tokenSecret` or `token_file`.\n" $name) -}}
{{- end -}}
{{- $push := include "comfycontrol-exporter.withoutToken" (dict "given" $account.push "file" (printf "push-token-%s" $name)) | fromYaml -}}
{{- $entry = set $entry "push" $push -}}
{{- end -}}
{{- $entries = append $entries (set $entry "name" $name) -}}
{{- end -}}
{{- set (deepCopy (default dict .Values.config)) "accounts" $entries | toYaml -}}
{{- end -}}

{{/* What the chart's own Secret holds: the tokens that stand in the values. */}}
{{- define "comfycontrol-exporter.literalTokens" -}}
{{- $tokens := dict -}}
{{- if not .Values.existingConfig.name -}}
{{- range $name, $account := include "comfycontrol-exporter.accounts" . | fromYaml -}}
{{- if include "comfycontrol-exporter.isLiteral" $account.token -}}
{{- $_ := set $tokens (printf "token-%s" $name) ($account.token | b64enc) -}}
{{- end -}}
{{- if and (hasKey $account "push") (include "comfycontrol-exporter.isLiteral" (dig "token" "" $account.push)) -}}
{{- $_ := set $tokens (printf "push-token-%s" $name) ($account.push.token | b64enc) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $tokens -}}
{{- end -}}

{{/*
The folder of the configuration: the file, and beside it the tokens. One projected volume, so that a new
account and its token arrive at the same moment.
*/}}
{{- define "comfycontrol-exporter.configSources" -}}
{{- $existing := .Values.existingConfig -}}
{{- if $existing.name -}}
{{- range $key, $given := dict "accounts" .Values.accounts "config" .Values.config "token" .Values.token "tokenSecret.name" .Values.tokenSecret.name -}}
{{- if $given -}}
{{- fail (printf "\n\nexistingConfig.name is given along with %s, which it would silence. Keep one of the two.\n" $key) -}}
{{- end -}}
{{- end -}}
- {{ ternary "secret" "configMap" (eq $existing.kind "Secret") }}:
    name: {{ $existing.name }}
{{- else -}}
- configMap:
    name: {{ include "comfycontrol-exporter.fullname" . }}-config
{{- if include "comfycontrol-exporter.literalTokens" . | fromYaml }}
- secret:
    name: {{ include "comfycontrol-exporter.fullname" . }}-tokens
{{- end }}
{{- range $name, $account := include "comfycontrol-exporter.accounts" . | fromYaml }}
{{- with $account.tokenSecret }}
- secret:
    name: {{ .name }}
    items:
      - key: {{ default "token" .key }}
        path: token-{{ $name }}
{{- end }}
{{- with dig "push" "tokenSecret" nil $account }}
- secret:
    name: {{ .name }}
    items:
      - key: {{ default "token" .key }}
        path: push-token-{{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "comfycontrol-exporter.webSources" -}}
- secret:
    name: {{ default (printf "%s-web" (include "comfycontrol-exporter.fullname" .)) .Values.web.existingSecret }}
{{- with .Values.web.tlsSecret }}
- secret:
    name: {{ . }}
{{- end }}
{{- end -}}

{{- define "comfycontrol-exporter.workflowFiles" -}}
{{- if .Values.workflowFiles.existingConfigMap -}}
{{- .Values.workflowFiles.existingConfigMap -}}
{{- else if .Values.workflowFiles.files -}}
{{- include "comfycontrol-exporter.fullname" . }}-workflows
{{- end -}}
{{- end -}}
