import { render } from "preact";
import { app } from "./app.ts";
import { listenForKeys } from "./keyboard.ts";
import "./style.css";
import { Page } from "./ui/Page.tsx";

render(<Page />, document.getElementById("app")!);
listenForKeys();
void app.start();
