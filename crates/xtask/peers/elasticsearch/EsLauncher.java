import java.nio.file.Path;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one real Elasticsearch node for the integration tests.
 *
 * <p>Arguments: HOME HTTP_PORT DATA_DIR TRANSPORT_PORT [setting=value ...]. With
 * PEER_ENDS_WITH_INPUT=1 it ends with its standard input, so that it never outlives who started it.
 */
public final class EsLauncher {
  public static void main(String[] arguments) throws Exception {
    LogConfigurator.configureESLogging();
    LogConfigurator.configureWithoutConfig(
        Settings.builder().put("logger.level", "INFO").build());
    Settings.Builder settings =
        Settings.builder()
            .put("path.home", arguments[0])
            .put("path.data", arguments[2])
            .put("cluster.name", "emco-observer-test")
            .put("node.name", "n1")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", arguments[3])
            .put("discovery.type", "single-node")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false);
    for (int i = 4; i < arguments.length; i++) {
      String[] pair = arguments[i].split("=", 2);
      settings.put(pair[0], pair[1]);
    }
    Environment environment =
        InternalSettingsPreparer.prepareEnvironment(
            settings.build(), Map.of(), Path.of(arguments[0], "config"), () -> "n1");
    Node node =
        new Node(
            environment,
            PluginsLoader.createPluginsLoader(
                PluginsLoader.loadModulesBundles(environment.modulesDir()),
                PluginsLoader.loadPluginsBundles(environment.pluginsDir()),
                Map.of(),
                false));
    node.start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
    if ("1".equals(System.getenv("PEER_ENDS_WITH_INPUT"))) {
      while (System.in.read() >= 0) {}
      System.exit(0);
    }
    Thread.currentThread().join();
  }

  private static void close(Node node) {
    try {
      node.prepareForClose();
      node.close();
    } catch (Exception e) {
      e.printStackTrace();
    }
  }

  private EsLauncher() {}
}
