{{/* The name of an object: kata-deploy, then PART and the suffix if there are any.
     Takes a list of the root and PART. */}}
{{- define "kata-deploy.name" -}}
{{- $root := index . 0 -}}
{{- join "-" (compact (list $root.Chart.Name (index . 1) $root.Values.env.multiInstallSuffix)) -}}
{{- end -}}

{{- define "kata-deploy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The reference of an image. Takes a dict of the name of the value, the value, and the
     default of its tag. */}}
{{- define "kata-deploy.image" -}}
{{- $ref := .image.reference -}}
{{- $tag := .image.tag | toString -}}
{{- if contains "@" $ref -}}
  {{- if $tag -}}
    {{- fail (printf "%s: the reference %s has a digest, and the tag is %q: set %s.tag to \"\", or leave the digest out" .name $ref $tag .name) -}}
  {{- end -}}
  {{- $ref -}}
{{- else if contains ":" (base $ref) -}}
  {{- if $tag -}}
    {{- fail (printf "%s: the reference %s has a tag, and %s.tag is %q: set only one" .name $ref .name $tag) -}}
  {{- end -}}
  {{- $ref -}}
{{- else -}}
  {{- printf "%s:%s" $ref (default .default $tag) -}}
{{- end -}}
{{- end -}}

{{- define "kata-deploy.installer" -}}
{{- include "kata-deploy.image" (dict "name" "image" "image" .Values.image "default" .Chart.AppVersion) -}}
{{- end -}}

{{- define "kata-deploy.kubectl" -}}
{{- include "kata-deploy.image" (dict "name" "kubectlImage" "image" .Values.kubectlImage "default" "latest") -}}
{{- end -}}

{{/* Go's names of the architectures, to those in the installer's variables. */}}
{{- define "kata-deploy.arches" -}}
{"amd64": "X86_64", "arm64": "AARCH64", "ppc64le": "PPC64LE", "s390x": "S390X"}
{{- end -}}

{{/* The shims that are enabled, to the architectures that they run on, as JSON. Packaging
     puts shim-components.json into the chart, which lists what the release ships. */}}
{{- define "kata-deploy.shims" -}}
{{- $file := .Files.Get "shim-components.json" -}}
{{- if not $file -}}
  {{- fail "the chart has no shim-components.json: package it with `pipelines payload chart`, and use the package" -}}
{{- end -}}
{{- $shipped := (fromJson $file).shims -}}
{{- $arches := include "kata-deploy.arches" . | fromJson -}}
{{- $enabled := dict -}}
{{- range $name, $shim := omit .Values.shims "disableAll" -}}
  {{- $asked := and (kindIs "bool" $shim.enabled) $shim.enabled -}}
  {{- if and $asked (not (hasKey $shipped $name)) -}}
    {{- fail (printf "shims.%s: this release does not ship it; it ships %s" $name (keys $shipped | sortAlpha | join ", ")) -}}
  {{- end -}}
  {{- if and (hasKey $shipped $name) (ternary $asked (not $.Values.shims.disableAll) (kindIs "bool" $shim.enabled)) -}}
    {{- $on := list -}}
    {{- range $arch := $shim.supportedArches -}}
      {{- if hasKey (get $shipped $name) (index $arches $arch | lower) -}}
        {{- $on = append $on $arch -}}
      {{- end -}}
    {{- end -}}
    {{- if and $asked (not $on) -}}
      {{- fail (printf "shims.%s: this release ships it only for %s, and supportedArches is [%s]" $name (get $shipped $name | keys | sortAlpha | join ", ") (join ", " $shim.supportedArches)) -}}
    {{- end -}}
    {{- if $on -}}{{- $_ := set $enabled $name $on -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- if not $enabled -}}
  {{- fail (printf "no shim is enabled: enable one under shims: %s" (keys $shipped | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $enabled | toJson -}}
{{- end -}}

{{/* The installer's variables for one architecture, without the name of it, as JSON.
     Takes a dict of the root, the shims and the architecture. */}}
{{- define "kata-deploy.variables" -}}
{{- $names := list -}}{{- $annotations := list -}}{{- $snapshotters := list -}}{{- $pulls := list -}}{{- $forced := list -}}
{{- range $name, $arches := .shims -}}
  {{- if has $.arch $arches -}}
    {{- $shim := get $.root.Values.shims $name -}}
    {{- $containerd := $shim.containerd | default dict -}}
    {{- $names = append $names $name -}}
    {{- with $shim.allowedHypervisorAnnotations -}}{{- $annotations = append $annotations (printf "%s:%s" $name (join "," .)) -}}{{- end -}}
    {{- with $containerd.snapshotter -}}{{- $snapshotters = append $snapshotters (printf "%s:%s" $name .) -}}{{- end -}}
    {{- if $containerd.forceGuestPull -}}{{- $forced = append $forced $name -}}{{- end -}}
    {{- if or $containerd.forceGuestPull ($shim.crio | default dict).guestPull -}}{{- $pulls = append $pulls (printf "%s:guest-pull" $name) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $default := get .root.Values.defaultShim .arch -}}
{{- dict "SHIMS" (join " " $names) "DEFAULT_SHIM" (ternary $default "" (has $default $names)) "ALLOWED_HYPERVISOR_ANNOTATIONS" (join " " $annotations)
  "SNAPSHOTTER_HANDLER_MAPPING" (join "," $snapshotters) "PULL_TYPE_MAPPING" (join "," $pulls) "EXPERIMENTAL_FORCE_GUEST_PULL" (join "," $forced) | toJson -}}
{{- end -}}

{{/* A proxy of the enabled shims: SHIM=VALUE;SHIM=VALUE. Takes a dict of the root, the
     shims and the key. */}}
{{- define "kata-deploy.proxies" -}}
{{- $all := list -}}
{{- range $name := keys .shims | sortAlpha -}}
  {{- with get ((get $.root.Values.shims $name).agent | default dict) $.key -}}{{- $all = append $all (printf "%s=%s" $name .) -}}{{- end -}}
{{- end -}}
{{- join ";" $all -}}
{{- end -}}

{{/* Whether the cluster gets rules that count the keys of confidential guests, and the classes
     of these guests take one for each pod. Pods that take what no rule counts are never
     scheduled, so it is one decision. */}}
{{- define "kata-deploy.keys" -}}
{{- $create := .Values.nodeFeatureRules.create -}}
{{- if ternary $create (.Capabilities.APIVersions.Has "nfd.k8s-sigs.io/v1alpha1") (kindIs "bool" $create) -}}true{{- end -}}
{{- end -}}

{{/* The folder of containerd's configuration on the host. */}}
{{- define "kata-deploy.containerd" -}}
{{- $of := dict "k8s" "/etc/containerd/" "k3s" "/var/lib/rancher/k3s/agent/etc/containerd/" "rke2" "/var/lib/rancher/rke2/agent/etc/containerd/"
  "k0s" "/etc/k0s/" "microk8s" "/var/snap/microk8s/current/args/" -}}
{{- default (get $of .Values.k8sDistribution) .Values.containerd.configDir -}}
{{- end -}}

{{/* The handler of a custom runtime: that of its RuntimeClass. Takes a dict of its name
     and itself. */}}
{{- define "kata-deploy.handler" -}}
{{- $class := .runtime.runtimeClass | default "" | fromYaml -}}
{{- if $class.Error -}}{{- fail (printf "customRuntimes.runtimes.%s.runtimeClass: %s" .name $class.Error) -}}{{- end -}}
{{- required (printf "customRuntimes.runtimes.%s.runtimeClass: it has no handler" .name) $class.handler -}}
{{- end -}}

{{- define "kata-deploy.custom" -}}
{{- if and .Values.customRuntimes.enabled .Values.customRuntimes.runtimes -}}true{{- end -}}
{{- end -}}
