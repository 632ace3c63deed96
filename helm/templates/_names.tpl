{{- define "import-platform.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "import-platform.selector" -}}
app.kubernetes.io/name: import-platform
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "import-platform.labels" -}}
{{ include "import-platform.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "import-platform.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "import-platform.name" .) }}
{{- end }}

{{- define "import-platform.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Variables that are no secret, of the code location and of every run. */ -}}
{{- define "import-platform.env" -}}
{{- $env := dict "IMPORT_PLATFORM_LAKE" .Values.lake.uri "IMPORT_PLATFORM_PARTITION_MAX" .Values.partitionMax }}
{{- $_ := set $env "IMPORT_PLATFORM_DEFS" "/etc/import_platform/sources" }}
{{- $_ := set $env "DAGSTER_HOME" "/opt/dagster/dagster_home" }}
{{- $_ := set $env "TMPDIR" "/scratch" }}
{{- $_ := set $env "IMPORT_PLATFORM_EXECUTOR" .Values.executor.kind }}
{{- $_ := set $env "IMPORT_PLATFORM_POD_MEMORY" (printf "%dMi" (int .Values.run.memoryMiB)) }}
{{- if eq .Values.executor.kind "multiprocess" }}
{{- $_ := set $env "DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT" (toString .Values.executor.maxConcurrent) }}
{{- else if eq .Values.executor.kind "kubernetes" }}
{{- $_ := set $env "IMPORT_PLATFORM_MAX_PODS" (toString .Values.executor.maxConcurrent) }}
{{- $_ := set $env "IMPORT_PLATFORM_POD_CPU" .Values.run.cpu }}
{{- else if eq .Values.executor.kind "dask" }}
{{- $_ := set $env "DASK_SCHEDULER_ADDRESS" .Values.executor.daskScheduler }}
{{- end }}
{{- with .Values.lake.region }}{{ $_ := set $env "AWS_REGION" . }}{{ end }}
{{- with .Values.lake.endpointUrl }}{{ $_ := set $env "AWS_ENDPOINT_URL_S3" . }}{{ end }}
{{- merge (dict) .Values.env $env | toJson }}
{{- end }}

{{- define "import-platform.mounts" -}}
- {name: home, mountPath: /opt/dagster/dagster_home}
- {name: scratch, mountPath: /scratch}
- {name: sources, mountPath: /etc/import_platform/sources, readOnly: true}
{{- if .Values.discovery.existingClaim }}
- {name: discovery, mountPath: /opt/dagster/dagster_home/sources}
{{- end }}
{{- end }}

{{- define "import-platform.volumes" -}}
- name: home
  emptyDir: {sizeLimit: 1Gi}
- name: scratch
  emptyDir: {sizeLimit: {{ .Values.run.scratch }}}
- name: sources
  configMap:
    name: {{ include "import-platform.name" . }}-sources
    items:
      {{- range $name := keys .Values.sources | sortAlpha }}
      - {key: {{ $name }}.yaml, path: {{ $name }}/defs.yaml}
      {{- else }}
      []
      {{- end }}
{{- with .Values.discovery.existingClaim }}
- name: discovery
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- end }}

{{- define "import-platform.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "import-platform.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What a pod may hold, whoever changes its limit: Kubernetes can name the limit, and we take the share of it. */ -}}
{{- define "import-platform.memory" -}}
- name: IMPORT_PLATFORM_POD_LIMIT
  valueFrom: {resourceFieldRef: {resource: limits.memory}}
- name: IMPORT_PLATFORM_MEMORY
  value: "80% of $(IMPORT_PLATFORM_POD_LIMIT)"
{{- end }}

{{- /* What Dagster's run launcher makes of a run's pod, and our executor of a step's: it is told by the code location, beside the
image. Where steps are pods, a run's own pod only starts them, and ours are told their size by IMPORT_PLATFORM_POD_MEMORY. */ -}}
{{- define "import-platform.runContext" -}}
{{- $pods := eq .Values.executor.kind "kubernetes" }}
{{- $memory := ternary .Values.executor.coordinatorMemoryMiB .Values.run.memoryMiB $pods }}
{{- $cpu := ternary .Values.executor.coordinatorCpu .Values.run.cpu $pods }}
k8s:
  image_pull_policy: {{ .Values.image.pullPolicy }}
  {{- with .Values.imagePullSecrets }}
  image_pull_secrets:
    {{- range . }}
    - {name: {{ . }}}
    {{- end }}
  {{- end }}
  service_account_name: {{ include "import-platform.serviceAccount" . }}
  env_vars:
    {{- range $name, $value := include "import-platform.env" . | fromJson }}
    - {{ printf "%s=%s" $name (toString $value) | quote }}
    {{- end }}
  env_secrets: {{ .Values.secrets | toJson }}
  labels: {{ dict "import-platform/release" .Release.Name | toJson }}
  volumes:
    {{- include "import-platform.volumes" . | nindent 4 }}
  volume_mounts:
    {{- include "import-platform.mounts" . | nindent 4 }}
  resources:
    limits: {memory: {{ $memory }}Mi}
    requests: {cpu: {{ $cpu | quote }}, memory: {{ $memory }}Mi}
  security_context:
    {{- include "import-platform.containerSecurity" . | nindent 4 }}
  run_k8s_config:
    container_config:
      env:
        {{- include "import-platform.memory" . | nindent 8 }}
    pod_spec_config:
      termination_grace_period_seconds: {{ .Values.run.graceSeconds }}
      automount_service_account_token: {{ $pods }}  # steps get none in any case
      node_selector: {{ .Values.run.nodeSelector | toJson }}
      tolerations: {{ .Values.run.tolerations | toJson }}
      security_context:
        {{- include "import-platform.podSecurity" . | nindent 8 }}
    pod_template_spec_metadata:
      annotations:  # a drained or emptied node waits for runs instead of killing them
        cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
        karpenter.sh/do-not-disrupt: "true"
    job_spec_config:
      ttl_seconds_after_finished: {{ .Values.run.ttlSecondsAfterFinished }}
{{- end }}
