import { render } from "preact";
import "../../shared/theme.css";
import "./console.css";
import { start, takeCode } from "./api.ts";
import { App } from "./app.tsx";
import { listen } from "./listen.ts";
import { parseRoute } from "./route.ts";
import { route } from "./state.ts";

const code = takeCode();
route.value = parseRoute(location.hash);
listen();
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
void start(code);
