import { render } from "preact";
import "../../shared/theme.css";

function App() {
  return (
    <main>
      <h1>Console</h1>
    </main>
  );
}

const root = document.getElementById("app");
if (root) render(<App />, root);
