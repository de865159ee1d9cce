# ruff: noqa: N815 - names as charts write them
"""The chart's values as models: the part of the schema that is about Kubernetes.

What is about the exporter comes from the exporter's own models, in `helm.schema`. Defaults and
descriptions are in `values.yaml` alone. Objects that Kubernetes knows go through as they are: their
schemas differ from version to version, and the API server checks them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from exporter.commands.flags import RESERVED_PATHS

Object = dict[str, Any]
Objects = list[Object]
Strings = dict[str, str]
Port = Annotated[int, Field(ge=1, le=65_535)]
Count = Annotated[int, Field(ge=0)]
Kind = Literal["ConfigMap", "Secret"]
Name = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$")]
"""Of an object, or empty."""
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")]
"""Of a ConfigMap or Secret."""
OptionalKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,253}$")]
"""As above, or empty."""
Size = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(E|P|T|G|M|k|Ei|Pi|Ti|Gi|Mi|Ki)?$")]
SizeLimit = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(E|P|T|G|M|k|Ei|Pi|Ti|Gi|Mi|Ki)?)?$")]
"""A size, or empty."""
Time = Annotated[str, Field(pattern=r"^([0-9]+(ms|s|m|h|d))*$")]
"""Of Prometheus, or empty."""


NOT_TAKEN = {"not": {"pattern": f"^({'|'.join(RESERVED_PATHS)})"}}
"""Where the exporter does not let `--web.telemetry-path` be."""


class Part(BaseModel):
    """A mapping with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class TokenSecret(Part):
    """Where a token is. Used for accounts as well."""

    name: Name
    key: Key


class ExistingConfig(Part):
    """A whole configuration of the user's."""

    kind: Kind
    name: Name


class WorkflowFiles(Part):
    """Lists of ids."""

    existingConfigMap: Name
    files: dict[Key, list[str]]


class Log(Part):
    """Flags of the same names."""

    level: Literal["debug", "info", "warn", "error"]
    format: Literal["logfmt", "json"]


class ProxySecret(Part):
    """Where the addresses of proxies are."""

    name: Name
    httpsKey: OptionalKey
    httpKey: OptionalKey


class Proxy(Part):
    """The way out."""

    https: str
    http: str
    none: str
    secret: ProxySecret


class CaBundle(Part):
    """Authorities."""

    kind: Kind
    name: Name
    key: Key


class Web(Part):
    """The exporter's web side."""

    port: Port
    telemetryPath: Annotated[
        str,
        Field(pattern=r"^/[^{}?#\s]*$", json_schema_extra=NOT_TAKEN),
    ]
    config: Object
    existingSecret: Name
    key: Key
    tlsSecret: Name
    scheme: Literal["", "http", "https"]
    requiresClientCertificates: Literal["", True, False]


class Service(Part):
    """The Service."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    port: Port
    clusterIP: str
    nodePort: Annotated[int, Field(ge=0, le=65_535)]
    ipFamilyPolicy: Literal["", "SingleStack", "PreferDualStack", "RequireDualStack"]
    ipFamilies: list[Literal["IPv4", "IPv6"]]
    annotations: Strings
    labels: Strings


class RetentionPolicy(Part):
    """Of claims."""

    whenDeleted: Literal["Retain", "Delete"]
    whenScaled: Literal["Retain", "Delete"]


AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]


class Persistence(Part):
    """Where the ledger is."""

    enabled: bool
    size: Size
    storageClassName: str
    accessModes: Annotated[list[AccessMode], Field(min_length=1)]
    existingClaim: Name
    retentionPolicy: RetentionPolicy
    annotations: Strings
    emptyDirSizeLimit: SizeLimit


class Postgres(Part):
    """A ledger that several pods share."""

    existingSecret: Name
    key: Key


class Storage(Part):
    """Where the ledger is, if not in a volume."""

    postgres: Postgres


class Monitor(Part):
    """A ServiceMonitor or a PodMonitor."""

    enabled: bool
    namespace: Name
    labels: Strings
    annotations: Strings
    interval: Time
    scrapeTimeout: Time
    sampleLimit: Count
    scrapeClassicHistograms: bool
    targetLabels: list[str]
    tlsConfig: Object
    basicAuth: Object
    relabelings: Objects
    metricRelabelings: Objects


class ScrapeAnnotations(Part):
    """The annotations that many scrape configurations look for."""

    enabled: bool
    target: Literal["service", "pod"]


class PrometheusRule(Part):
    """The object; the thresholds are under `rules`."""

    enabled: bool
    namespace: Name
    labels: Strings
    annotations: Strings
    alertLabels: Strings
    extraGroups: Objects


class Dashboards(Part):
    """ConfigMaps for Grafana."""

    enabled: bool
    namespace: Name
    label: Annotated[str, Field(min_length=1)]
    labelValue: str
    folder: str
    folderAnnotation: Annotated[str, Field(min_length=1)]
    labels: Strings
    annotations: Strings


PolicyPort = Annotated[int, Field(ge=1, le=65_535)]


class ScrapeFrom(Part):
    """Who may scrape, in short."""

    namespace: Name


class DatabasePolicy(Part):
    """Where the database is."""

    to: Objects
    ports: Annotated[list[PolicyPort], Field(min_length=1)]


class NetworkPolicy(Part):
    """Who may talk to whom."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    enabled: bool
    scrapeFrom: ScrapeFrom
    from_: Annotated[Objects, Field(alias="from")]
    to: Objects
    toPorts: Annotated[list[PolicyPort], Field(min_length=1)]
    dns: Objects
    database: DatabasePolicy
    extraEgress: Objects
    extraIngress: Objects
    annotations: Strings


class Image(Part):
    """The container's image."""

    repository: Annotated[str, Field(min_length=1)]
    tag: str
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    pullPolicy: Literal["Always", "IfNotPresent", "Never"]


class ServiceAccount(Part):
    """Whom the pod runs as, to Kubernetes."""

    create: bool
    name: Name
    annotations: Strings


class PodDisruptionBudget(Part):
    """For drains."""

    enabled: Literal["", True, False]
    maxUnavailable: Annotated[int, Field(ge=0, le=1)]
    unhealthyPodEvictionPolicy: Literal["AlwaysAllow", "IfHealthyBudget"]


class Test(Part):
    """`helm test`."""

    enabled: bool
    caSecret: Name
    caKey: Key
    host: str


class Values(Part):
    """All of `values.yaml` but what `helm.schema` adds: accounts, configuration and rules."""

    tokenSecret: TokenSecret
    token: str
    existingConfig: ExistingConfig
    reload: Literal["watch", "rollout"]
    workflowFiles: WorkflowFiles
    log: Log
    extraArgs: list[str]
    extraEnv: Objects
    extraEnvFrom: Objects
    proxy: Proxy
    caBundle: CaBundle
    web: Web
    service: Service
    storage: Storage
    persistence: Persistence
    serviceMonitor: Monitor
    podMonitor: Monitor
    scrapeAnnotations: ScrapeAnnotations
    prometheusRule: PrometheusRule
    dashboards: Dashboards
    networkPolicy: NetworkPolicy
    replicas: Count
    image: Image
    imagePullSecrets: Objects
    serviceAccount: ServiceAccount
    resources: Object
    podSecurityContext: Object
    securityContext: Object
    startupProbe: Object
    livenessProbe: Object
    readinessProbe: Object
    terminationGracePeriodSeconds: Annotated[int, Field(ge=3)]
    minReadySeconds: Count
    revisionHistoryLimit: Count
    podDisruptionBudget: PodDisruptionBudget
    podAnnotations: Strings
    podLabels: Strings
    nodeSelector: Strings
    tolerations: Objects
    affinity: Object
    topologySpreadConstraints: Objects
    priorityClassName: str
    runtimeClassName: str
    schedulerName: str
    hostAliases: Objects
    dnsPolicy: Literal["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]
    dnsConfig: Object
    extraVolumes: Objects
    extraVolumeMounts: Objects
    extraContainers: Objects
    extraInitContainers: Objects
    nameOverride: str
    fullnameOverride: str
    namespaceOverride: Name
    commonLabels: Strings
    commonAnnotations: Strings
    test: Test
    extraObjects: list[Object | str]
    global_: Annotated[Object, Field(alias="global")]
