// SPDX-License-Identifier: Apache-2.0
/** `GET /openapi.json` and `GET /docs`. */
import type { ModelInfo } from "../src/types.ts";
import type { Deps, Handler } from "./context.ts";
import { type OpenApi, openApi } from "./openapi/document.ts";
import { docsPage } from "./openapi/page.ts";
import { MAX_INT32 } from "./schemas/fields.ts";

/** While the model is loading, its bounds are not known. */
const ANY_MODEL: ModelInfo = {
  id: "",
  created: 0,
  contextTokens: MAX_INT32,
  mostRequests: MAX_INT32,
  hasChatTemplate: true,
  toolDialect: "json",
  vocabulary: MAX_INT32,
  hidden: MAX_INT32,
};

/** The page runs no script and loads nothing. */
const PAGE_HEADERS = {
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
};

/** Makes the description once for each model. */
function describer({ service, options }: Deps): () => OpenApi {
  const known = new WeakMap<ModelInfo, OpenApi>();
  return () => {
    const model = service.status().state === "ready" ? service.model() : ANY_MODEL;
    const made = known.get(model) ?? openApi(options.version, model);
    known.set(model, made);
    return made;
  };
}

/** The description for machines. */
export function openApiJson(deps: Deps): Handler {
  const describe = describer(deps);
  return (c) => c.json(describe());
}

/** The description for people. */
export function docs(deps: Deps): Handler {
  const describe = describer(deps);
  return (c) => c.html(docsPage(describe()), 200, PAGE_HEADERS);
}
