// What the page keeps on this machine: the outbox and the drafts, in IndexedDB.

export type StoreName = "outbox" | "drafts";

export type Write = { store: StoreName; put: object } | { store: StoreName; remove: string };

// Storage keeps objects by key: outbox rows by `id`, drafts by `key`.
export interface Storage {
  // write makes all changes or none. When it returns, they survive a crash of the page.
  write(changes: Write[]): Promise<void>;
  all<T>(store: StoreName): Promise<T[]>;
  get<T>(store: StoreName, key: string): Promise<T | undefined>;
}

const KEYS: Record<StoreName, string> = { outbox: "id", drafts: "key" };

// openStorage opens the database. Where the browser refuses (some private windows), it returns one in memory, which lives as
// long as the page.
export async function openStorage(): Promise<Storage> {
  try {
    return new Indexed(await open());
  } catch {
    return new InMemory();
  }
}

const open = (): Promise<IDBDatabase> =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open("confab-chat", 1);
    request.onupgradeneeded = () => {
      for (const [name, keyPath] of Object.entries(KEYS)) request.result.createObjectStore(name, { keyPath });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the database did not open"));
  });

class Indexed implements Storage {
  #db: IDBDatabase;
  constructor(db: IDBDatabase) {
    this.#db = db;
  }

  write(changes: Write[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const names = [...new Set(changes.map((c) => c.store))];
      const transaction = this.#db.transaction(names, "readwrite", { durability: "strict" });
      for (const c of changes) {
        const store = transaction.objectStore(c.store);
        if ("put" in c) store.put(c.put);
        else store.delete(c.remove);
      }
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the browser stored nothing"));
    });
  }

  all<T>(store: StoreName): Promise<T[]> {
    return result(this.#db.transaction(store).objectStore(store).getAll() as IDBRequest<T[]>);
  }

  get<T>(store: StoreName, key: string): Promise<T | undefined> {
    return result(this.#db.transaction(store).objectStore(store).get(key) as IDBRequest<T | undefined>);
  }
}

const result = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser read nothing"));
  });

// InMemory is a Storage without a disk: for browsers that refuse one, and for tests.
export class InMemory implements Storage {
  #stores: Record<StoreName, Map<string, object>> = { outbox: new Map(), drafts: new Map() };

  async write(changes: Write[]): Promise<void> {
    for (const c of changes) {
      if ("put" in c) this.#stores[c.store].set(String((c.put as Record<string, unknown>)[KEYS[c.store]]), structuredClone(c.put));
      else this.#stores[c.store].delete(c.remove);
    }
  }

  async all<T>(store: StoreName): Promise<T[]> {
    return [...this.#stores[store].values()].map((v) => structuredClone(v)) as T[];
  }

  async get<T>(store: StoreName, key: string): Promise<T | undefined> {
    return structuredClone(this.#stores[store].get(key)) as T | undefined;
  }
}
