{{/* What the operator may do in a namespace that it serves, and what for. It is the same list in a ClusterRole (all
namespaces) and in a Role (one of watchNamespaces). There is no node and no wildcard in it. */}}
{{- define "signalbox.rules" -}}
# Observe: what users ask for.
- apiGroups: [signalbox.dev]
  resources: [eventdispatchers]
  verbs: [list, watch]
# Report: conditions, regions and decisions, by server-side apply.
- apiGroups: [signalbox.dev]
  resources: [eventdispatchers/status]
  verbs: [patch]
# Apply: the objects below are owned by their EventDispatcher in a way that blocks its deletion until they are gone.
# Clusters with the OwnerReferencesPermissionEnforcement admission ask for this permission before they allow that.
- apiGroups: [signalbox.dev]
  resources: [eventdispatchers/finalizers]
  verbs: [update]
# Observe and apply: the shards of a region, and how many.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# Observe and apply: where events enter and where shards find each other (Services); what shards are configured with
# (ConfigMaps, watched by label: it reads only its own).
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Observe and apply: the keys of each fleet, which the operator makes and renews (Secrets, watched by label: it reads only
# its own, though Kubernetes cannot limit a right to a label). Never deleted: they go with their EventDispatcher.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# Observe and apply: which shards get traffic.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch, delete]
# Apply: how a Gateway leads to regions, for fleets whose traffic.mode is Gateway; of no other fleet is it asked for. No list
# and no watch: most clusters have no such kind.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, create, patch, delete]
# Observe and apply: how many shards of a region may be evicted at once.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Observe: which shards are there, ready, and at which address. The StatefulSet makes and deletes them.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Observe: whether a shard that could go has a volume, on which events may wait. Volumes are never written or deleted.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch]
# Report: each decision as an event on its EventDispatcher; patch, to count one that repeats.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- with .Values.rbac.extraRules }}
# From the value rbac.extraRules.
{{ toYaml . }}
{{- end }}
{{- end -}}
