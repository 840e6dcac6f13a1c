import java.net.HttpURLConnection;
import java.net.URL;

/** Asks for the address given and prints the status. */
public class Get {
    public static void main(String[] args) throws Exception {
        System.out.println(((HttpURLConnection) new URL(args[0]).openConnection()).getResponseCode());
    }
}
