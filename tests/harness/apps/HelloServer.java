// The test service (see python_server.py for its routes) on the JDK's own HTTP server. Prints its port.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

public class HelloServer {
    static final int PIECE_PAUSE_MS = 10;

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 128);
        server.createContext("/", HelloServer::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println(server.getAddress().getPort());
    }

    static void answer(HttpExchange exchange) throws IOException {
        int received = exchange.getRequestBody().readAllBytes().length;
        String[] parts = exchange.getRequestURI().getPath().split("/");
        String route = parts[1];
        if (route.equals("sleep")) pause(Integer.parseInt(parts[2]));
        if (route.equals("stream") || route.equals("sse")) {
            stream(exchange, Integer.parseInt(parts[2]), route.equals("sse"));
            return;
        }
        int status = route.equals("upload") ? 201 : route.equals("status") ? Integer.parseInt(parts[2]) : 200;
        byte[] content = switch (route) {
            case "large" -> "x".repeat(Integer.parseInt(parts[2])).getBytes(StandardCharsets.US_ASCII);
            case "upload" -> ("received " + received + "\n").getBytes(StandardCharsets.US_ASCII);
            default -> ("hello " + parts[parts.length - 1] + "\n").getBytes(StandardCharsets.US_ASCII);
        };
        boolean head = exchange.getRequestMethod().equals("HEAD");
        exchange.getResponseHeaders().set("Content-Type", "text/plain");
        exchange.sendResponseHeaders(status, head ? -1 : content.length);
        if (!head) exchange.getResponseBody().write(content);
        exchange.close();
    }

    static void stream(HttpExchange exchange, int pieces, boolean events) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", events ? "text/event-stream" : "text/plain");
        exchange.sendResponseHeaders(200, 0);
        try (OutputStream body = exchange.getResponseBody()) {
            for (int number = 0; number < pieces; number++) {
                pause(PIECE_PAUSE_MS);
                body.write(("data: " + number + "\n\n").getBytes(StandardCharsets.US_ASCII));
                body.flush();
            }
        }
    }

    static void pause(int milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
