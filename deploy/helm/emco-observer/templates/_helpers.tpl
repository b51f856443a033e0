{{/* Everything of the release is called after this. */}}
{{- define "emco-observer.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "emco-observer" .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-emco-observer" (.Release.Name | trunc 34 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "emco-observer.control" -}}
{{- include "emco-observer.fullname" . }}-control
{{- end -}}

{{- define "emco-observer.hub" -}}
{{- include "emco-observer.fullname" . }}-hub
{{- end -}}

{{- define "emco-observer.lab" -}}
{{- include "emco-observer.fullname" . }}-lab
{{- end -}}

{{- define "emco-observer.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "emco-observer.control" .) -}}
{{- else -}}
{{- required "serviceAccount.name: name the account that is there already, or let serviceAccount.create be true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret in which the replicas keep their authority and certificate. */}}
{{- define "emco-observer.certificates" -}}
{{- .Values.certificates.existingSecret | default (printf "%s-certificates" (include "emco-observer.control" .)) -}}
{{- end -}}

{{/* Call with (dict "root" $ "component" "control"). */}}
{{- define "emco-observer.selector" -}}
app.kubernetes.io/name: emco-observer
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "emco-observer.labels" -}}
{{ include "emco-observer.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: emco-observer
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") | quote }}
{{- end -}}

{{/* Call with (dict "root" $ "image" .Values.control.image). */}}
{{- define "emco-observer.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- $name := .image.repository -}}
{{- if $registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" $registry) $name -}}
{{- end -}}
{{- $name = printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) -}}
{{- if .image.digest -}}
{{- $name = printf "%s@%s" $name .image.digest -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "emco-observer.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What Pod Security asks for at its strictest level. */}}
{{- define "emco-observer.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "emco-observer.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{/* Where a pod runs. Call with the values of a component. */}}
{{- define "emco-observer.placement" -}}
{{- with .nodeSelector -}}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Labels that keep a pod of ours out of every mesh and every injection. */}}
{{- define "emco-observer.outside" -}}
emco-observer.io/inject: "false"
sidecar.istio.io/inject: "false"
{{- end -}}

{{/* The file of the control plane. */}}
{{- define "emco-observer.controlConfig" -}}
{{- $injection := merge (dict
      "image" (include "emco-observer.image" (dict "root" . "image" .Values.sidecar.image))
      "image_pull_policy" .Values.sidecar.image.pullPolicy
      "image_pull_secrets" .Values.global.imagePullSecrets) .Values.injection -}}
log_level: {{ .Values.control.logLevel | quote }}
admin:
  listen: 0.0.0.0:9464
webhook:
  listen: 0.0.0.0:8443
  configuration: emco-observer
  service: {{ include "emco-observer.control" . }}
certificates:
  secret: {{ include "emco-observer.certificates" . }}
  authority_config_map: emco-observer-ca
  {{- if eq .Values.backend "embedded" }}
  more_services: [{{ include "emco-observer.lab" . }}]
  {{- end }}
{{- if .Values.hub.enabled }}
hub:
  listen: 0.0.0.0:8444
  service: {{ include "emco-observer.hub" . }}
  gateways:
    {{- toYaml .Values.hub.gateways | nindent 4 }}
{{- end }}
injection:
  {{- toYaml $injection | nindent 2 }}
watchdog:
  interval: {{ .Values.watchdog.interval }}
  rollback: {{ .Values.watchdog.rollback }}
{{- end -}}

{{/* The file of the sidecars: what the release knows, and over it what the operator says. */}}
{{- define "emco-observer.sidecarConfig" -}}
{{- $config := dict -}}
{{- $tls := dict "ca_file" "/var/run/secrets/emco-observer/ca.crt" -}}
{{- $token := "/var/run/secrets/emco-observer/token" -}}
{{- if .Values.hub.enabled -}}
{{- $address := printf "https://%s.%s.svc:8444" (include "emco-observer.hub" .) .Release.Namespace -}}
{{- $_ := set $config "hub" (dict
      "addresses" (list $address)
      "tls" $tls
      "token_file" $token) -}}
{{- end -}}
{{- if eq .Values.backend "embedded" -}}
{{- if not .Values.hub.enabled -}}
{{- fail "backend=embedded needs hub.enabled=true: the hub knows the tokens by which sidecars send to it" -}}
{{- end -}}
{{- $url := printf "https://%s.%s.svc:9200" (include "emco-observer.lab" .) .Release.Namespace -}}
{{- $lab := dict "url" $url "tls" $tls "token_file" $token -}}
{{- $_ := set $config "lanes" (dict "elastic" $lab "otlp" (deepCopy $lab)) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (deepCopy .Values.sidecar.config) -}}
{{- $lanes := dig "lanes" (dict) $config -}}
{{- if not (or (dig "elastic" "" $lanes) (dig "forward" "" $lanes) (dig "otlp" "" $lanes)) -}}
{{- fail "where do lines go? Name a destination, e.g. sidecar.config.lanes.elastic.url, or set backend=embedded for a trial" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
