//! Where EMCO prints what: the call sites that the generator speaks from, with their real file, line
//! and function, so that a line's `SOURCE` says what the real service would say.

/// A call of EMCO's logger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) function: &'static str,
    pub(super) level: &'static str,
    pub(super) message: &'static str,
}

macro_rules! sites {
    ($($name:ident = $level:ident $file:literal:$line:literal $function:literal $message:literal;)*) => {
        $(pub(super) const $name: Site = Site {
            file: $file,
            line: $line,
            function: $function,
            level: stringify!($level),
            message: $message,
        };)*
        /// All of them, for tests.
        #[cfg(test)]
        pub(super) const ALL: &[Site] = &[$($name),*];
    };
}

sites! {
    SCHEMA_DONE = info "schema.go":132 "db.(*MongoStore).verifyReferentialIntegrity" "DatabaseReferentialSchema: successfully processed the referential schema.";
    HTTP_START = info "controller.go":241 "controller.NewControllerServer.func1" "Starting HTTP server";
    GRPC_START = info "controller.go":250 "controller.NewControllerServer.func1" "Starting gRPC server";
    API_ERROR = error "apierror.go":52 "apierror.HandleErrors" "Error :: ";

    INSTANTIATE = info "instantiation.go":392 "module.InstantiationClient.Instantiate" ":: Orchestrator Instantiate ::";
    LOGICAL_CLOUD = info "instantiation.go":310 "module.validateLogicalCloud" "The Logical Cloud is instantiated, proceeding with DIG instantiation.";
    NAMESPACE = info "instantiation.go":343 "module.getLogicalCloudInfo" "Namespace for this logical cloud";
    CREATE_CONTEXT = info "appcontext.go":131 "appcontext.(*AppContext).CreateCompositeApp" ":: CreateCompositeApp ::";
    META_DATA = info "appContextMaker.go":74 "module.(*Instantiator).makeAppContextForCompositeApp" ":: The meta data stored in the runtime context :: ";
    PROCESSING_APP = info "instantiation.go":211 "module.GetSortedTemplateForApp" ":: Processing App ::";
    CHART_PATH = info "helm.go":295 "helm.(*TemplateClient).Resolve" "The chartBasePath ::";
    OUTPUT_DIR = info "helm.go":134 "helm.(*TemplateClient).GenerateKubernetesArtifacts" ":: The o/p dir:: ";
    APP_HANDLE = info "appcontext.go":188 "appcontext.(*AppContext).AddApp" ":: Added app handle ::";
    CLUSTER_HANDLE = info "appcontext.go":231 "appcontext.(*AppContext).AddCluster" ":: Added cluster handle ::";
    RESOURCE_ORDER = info "instantiation_appcontext_helper.go":100 "module.getResources" ":: Added resource into resource-order ::";
    RESOURCE_HANDLE = info "appcontext.go":392 "appcontext.(*AppContext).AddResource" ":: Added resource handle ::";
    INSTRUCTION_HANDLE = info "appcontext.go":507 "appcontext.(*AppContext).AddInstruction" ":: Added instruction handle ::";
    CLEAN_DIR = info "instantiation.go":278 "module.cleanTmpfiles" "Clean up temp-dir::";
    CONTROLLERS = info "instantiation_scheduler_helper.go":100 "module.getPrioritizedControllerList" "getPrioritizedControllerList .. controllers info";
    INIT_RSYNC = info "instantiation_scheduler_helper.go":222 "module.queryDBAndSetRsyncInfo" "Initializing RPC connection to resource synchronizer";
    INSTALL_RESPONSE = info "client.go":102 "installappclient.InvokeInstallApp" "Response from InstappApp GRPC call";
    INSTALL_SUCCESS = info "client.go":113 "installappclient.InvokeInstallApp" "InstallApp Success";
    NO_REFERENCE = info "status_helper.go":430 "status.getResourceFromReference" ":: No reference key for resource yet ::";

    QUEUE_MISSING = info "queueUtils.go":33 "context.(*AppContextQueueUtils).GetAppContextQueue" "Error in getting the AppContextQueue Level handle";
    QUEUE_CREATING = info "queueUtils.go":94 "context.(*AppContextQueueUtils).Enqueue" "No existing AppContextQueue, Creating AppContextQueue";
    QUEUE_CREATED = info "queueUtils.go":146 "context.(*AppContextQueueUtils).CreateQueue" "AppContextQueue created :: Qhandle :: ";
    APP_INSTRUCTION = info "appcontext.go":554 "appcontext.(*AppContext).GetAppInstruction" "Getting app instruction";
    WAIT_SUBTASKS = info "routines.go":308 "context.(*Context).appContextRoutine" "Wait for all subtasks to complete";
    RUN_CLUSTER = info "routines.go":528 "context.(*Context).runCluster" " runCluster::";
    INSTALLING = info "routines.go":593 "context.(*Context).runCluster" "Installing main resources";
    SUBRESOURCE = error "acutils.go":467 "utils.(*AppContextReference).GetSubResApprove" "GetSubResApprove - Error getting referenced subresource/approval handle";
    INSTALLED = info "routines.go":604 "context.(*Context).runCluster" "Done Installing main resources";
    SUCCESS_SUBTASKS = info "routines.go":327 "context.(*Context).appContextRoutine" "Success all subtasks completed";
    DONE_PROCESSING = info "routines.go":340 "context.(*Context).appContextRoutine" "Done Processing - no new messages";
    STATUS_UPDATE = info "status.go":53 "k8s.HandleStatusUpdate" "K8s HandleStatusUpdate";

    WITH_LABELS = warning "clusterhandler.go":306 "api.clusterHandler.getClusterHandler" "with Labels ";
    BY_LABEL = info "clusterhandler.go":327 "api.clusterHandler.getClusterHandler" ":: get clusters by label parameters ::";
    CLUSTER_ERROR = error "clusterhandler.go":377 "api.clusterHandler.getClusterHandler" ":: Error getting cluster ::";

    INVALID_DOCUMENT = error "validation.go":357 "validation.ValidateJsonSchemaData" "The document is not valid";
    INVALID_NETWORK = error "networkhandler.go":84 "api.networkHandler.createNetworkHandler" ":: Invalid network POST body ::";

    CREATE_REFERENCE = info "cluster.go":86 "module.(*ClusterClient).CreateCluster" "Adding cluster-reference. Changes won't take effect until the respective Logical Cloud is updated.";
    NO_CLUSTER_STATUS = info "status_helper.go":898 "status.getResourceBundleStateStatus" ":: No cluster status handle for cluster, app ::";
    CLUSTER_RESOURCES = info "status_helper.go":858 "status.prepareStatusResult" ":: Found cluster status appcontext resources ";
    RSYNC_RESOURCES = info "status_helper.go":842 "status.prepareStatusResult" ":: Found some rsync appcontext resources ";
    NO_READY_STATUS = info "status_helper.go":1199 "status.getClusterReadyStatus" "Reference not found for cluster status";
}
